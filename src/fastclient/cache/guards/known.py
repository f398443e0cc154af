"""Common words. One of them is no misspelling of another: `charge` is not `change`, however near. A table only."""

from __future__ import annotations

from typing import Final

__all__ = ["COMMON"]

COMMON: Final = """
ability above accept access accident account accurate across act action activity actor actual adapt address adopt
adult advance advantage adventure advice affect afford afternoon agency agent agreement ahead aid aim air airline
airport alarm album alcohol alert alien alley alone along alter amazing ambulance amount ancient angel anger angle
angry animal ankle annoy answer anxious apart apartment apple area argue arm army around arrange arrest arrow art
artist aside asleep asset atmosphere attack attempt attend attention attitude attract audience aunt average avoid
award aware baby back bacteria bad badge bake balance ball balloon band bank bar bare base basic basket bath bathroom
battery battle beach bean bear beard beat beauty bed bedroom beef beer behave behind belief believe bell belong belt
bench bend beside bet better beyond bid bike bin bird birth bishop bite bitter black blame blanket bleed bless blind
blood blow blue board boat body boil bomb bond bone bonus boot border borrow bottle bottom bowl boy brain brake branch
brand brave bread breakfast breast breath breed brick bride bridge brief bright broad brother brown brush bubble
bucket budget buffet build bullet bunch burn burst bury bush butcher butter button cabin cable cake calculate calendar
calm camera camp campaign campus canal cancer candidate candle candy canvas capable capacity capital captain capture
carbon care career carpet carrot carry cart cartoon case cash castle casual catch category cattle causal ceiling
celebrate cell cement century ceremony certain chain chair champion chance change channel chapter character charge
charity charm chart chase chat check cheese chef chemical cherry chess chest chicken chief chip chocolate church
cigarette cinema circle citizen city civil claim classic clause clay clever click climate climb clinic clock cloth
cloud club clue coal coast coat code coffee coin collapse collar collect college column comb comedy comfort command
comment commercial commission committee common community compass compete complain complex concept concern concert
conclude concrete condition conduct confident conflict congress consider consist constant consult consume contact
contain contest context continent continue contract contrast contribute control convince cook cookie copper corn
corner cost costume cottage cotton couch cough council count counter county courage court cousin crack craft cream
creature crew crime crisis critic crop cross crowd crown crucial cruise cry crystal culture cup cupboard cure curious
currency curtain curve custom cycle dairy dance danger dare dark daughter dawn deal dealer death debate debit debt
decade december deck decorate deep deer defeat defend define degree demand democracy dental dentist depart department
depend deploy deposit depth deputy describe desert deserve design desire desk dessert destiny detect device devise
devote diamond diary diet digital dignity dinner dinosaur direct dirt disaster discover discuss disease dish disk
dismiss distance district divide divorce dog doll dolphin domain domestic donate donkey door dose dot doubt dough
dozen draft drag drama draw drawer dream dress drill drop drum dry duck due dust duty eager eagle ear earn earth ease
east echo economy edge editor educate effect effort egg elbow elder elect electric elegant element elephant elevator
emerge emergency emotion emperor emphasis empire empty encourage engage engine engineer enough ensure enter entertain
enthusiasm entry envelope envy equip era escape essay establish estate estimate evaluate event evidence evil evolve
example exceed excellent exception excess excite excuse exist expand expect expert explore explosion expose express
extra extreme eye fabric face facility factor factory faculty fair fairy faith fame family fan fancy farm fashion fast
fat fate father fault favor fear feature federal feed feel fellow female fence festival fever fiber field fierce fight
figure film filter final finance finger fire firm fish flag flame flash flat flavor flesh flight float flood floor
flour flow flower fluid focus fog fold folk football force forecast forest form formal format fortune forward
foundation fountain fox frame frequent fresh friday friendly frog front fruit fuel fun fund funny fur furniture future
galaxy gallery garage garden garlic gas gate gather gear gender gene generous genius gentle ghost giant gift girl glad
glass globe glory glove glue goal goat god gold golf govern governor grab grace grade grain grand grandfather grant
grape graph grass grave gray great green grey grill grocery ground guard guess guide guilty guitar gun habit hair half
hall hammer hand handle hang happen harbor hard harm harvest hat hate head heal health heart heaven heavy height hell
helmet hen hero hill hint hip hire history hit hobby hole holy honest honey honor hook hope horizon horn horror horse
hostel hotel human humor hundred hunger hunt hurry hurt hut ice icon idea ideal identity idle image imagine impact
import impress improve incident income index industry infect inflation influence inform inherit injury ink inner
innocent insect inspire install instant institute instruct instrument intend interview invent invest involve iron
island jacket jail jam jar jaw jazz jealous jeans jelly jewel join joke journal journalist joy judge juice jump jungle
junior jury justice justify keen kettle key keyboard kick kill kind king kiss kit knee knife knock label labor lady
lake lamp land language lap large laser laugh lawn lawyer layer lead leader leaf league lean leather lecture leg
legend lemon lens lesson letter level liberty lid life lift limb lion lip liquor litter liver loan lobby local lock
logic lonely lord lounge love luck lucky lunch lung luxury machine magazine magic magnet maid mail main maintain male
mall manage mango manner map marble march margin marine mark market mask mass mate material math matter meal measure
meat mechanic medal media medical memory mental mention merchant mercy mess metal meter middle might milk mill mind
mine mineral minor miracle mirror mission mistake mixture mobile mode model modern moment monkey monster mood moon
moral morning mosque mother motion motor mount mountain mouse mouth muscle museum mushroom music mystery myth nail
naked narrow nasty nation native nature navy neat neck needle neighbor nephew nerve nest net neutral news nice niece
night noble node noise noon normal north nose notice novel nuclear nurse nut oak oath obey object observe obtain
obvious occasion occupy ocean odd offense office officer oil olive onion opera opinion oppose optimal option orange
orbit orchestra organ origin orphan outcome oven owe owl owner oxygen pace pack paint painting pair palace palm pan
panel panic pants parade paradise pardon park parrot party passage passenger passion pasta paste patch path patience
patient patrol pattern pause peace peak pear pearl pen pencil penny pension pepper perfect perform perfume personal
personnel phase philosophy photo phrase physical piano piece pig pillow pilot pipe pistol pit pitch pizza plain planet
plant plastic plate platform pleasant pleasure plenty plot plug plumber pocket poem poet poison pole police polish
polite pond pool poor pope popular population pork port pose possess post pot potato potential pound poverty powder
power practice pray precise predict pregnant premium present preserve president press pressure pretend pretty prevent
prey pride priest prime prince princess print prior prison private prize produce product profit progress project
promise promote proof proper property prophet protein protest proud prove province public pull pulse pump punch punish
pure purple purpose push puzzle quality quarter queen quest quick quiet quit quite quote rabbit race radio rage rain
rank rape rare rat ratio raw ray react reader ready real realize rear rebel recall recipe record red reduce refer
reflect reform refrigerator regard region regret regular reject relate relax release relief religion rely remain
remark remember remind remote repair repeat replace reply report represent republic rescue research resident resist
resolve resource respect respond restore restrict result retail retire reveal revenge review reward rhythm rice rich
ride rifle ring rise risk rival river road rob robot rock role roll romance roof root rope rose rotate rough round
route routine row royal rub rude rug ruin rural rush sad safe sail saint salad salt sand sandwich satellite sauce
sausage scale scan scandal scare scene scheme scholar science scissors scope scream script sea seal season secret
section sector seed seek senate senior sense sentence separate sequence series serious servant session settle severe
sew sex shade shadow shake shallow shame shape share shark sharp sheep sheet shelf shell shelter shield shift shine
ship shirt shock shoot shore shot shoulder shout shower sick side sight signal silence silk silly silver similar
simple sin sink sister site skill skin skirt sky slave sleep slice slide slim slip smart smell smile smoke smooth
snack snake snow soap soccer social sock soil solar soldier solid song sorry sort soul sound soup source space spare
spark special species specific speech spider spin spirit split sponsor spoon sport spot spray spread squad square
stable stadium staff stage stain stair stake stamp standard star stare state station statue steady steam steel stem
step stick stock stomach stone storage storm story stove straight strange stranger strategy stream street strength
stress stretch strict strike string strip stroke structure struggle studio stupid style subject success sudden suffer
sugar suggest suicide suit sun super supper supply supreme surface surgery surprise surround survey survive suspect
sustain swear sweat sweet swim swing sword symbol symptom system tail tale talent tank tap tape target task taste taxi
tea tear technical technology television temple tend tennis tension tent term terrible territory terror text thank
theater theory thick thief thin thirsty though thought thread threat throat throne through thumb tie tiger tight tile
tin tire toast tobacco toe toilet tomato tone tongue tool topic torch touch tour tourist towel tower town toy trace
trade tradition traffic trail train trait transit translate trap trash treasure treat tree trend trial tribe trick
trip troop tropical truck trust truth tube tunnel turkey turtle twin type ugly umbrella uncle uniform union unique
unit united universe university update upper urban urge urgent usual vaccine valley valuable value van variety vast
vegetable vehicle venue verse vessel veteran victim victory view village violence violin virus vision vital vitamin
vocal voice volume volunteer vote wage waist wake walk wall wallet war warm warn warranty watch wave wax weak wealth
weapon weather wedding weigh weight welcome west whale wheat wheel whip whisper whistle width wild win wind window
wine wing wire wisdom wise wish witch wolf wonder wood wool word world worry worship worth wound wrap wrist yellow
yield young youth zone zoo
""".strip()
