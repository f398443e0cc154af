"""Words that mean the contrary of each other: exchanging one for the other asks another question. A table only."""

from __future__ import annotations

from typing import Final

from fastclient.cache.guards.listed import listed

__all__ = ["LESS", "OPPOSITES", "PREFIXES"]

OPPOSITES: Final = """
on enable activate unmute | off disable deactivate mute, start begin launch open commence | stop end finish close quit
terminate, open opened opening | close closed closing shut, allow permit accept approve | forbid prohibit deny reject
refuse ban decline disallow block, block | unblock, block close | open, lock | unlock, before prior earlier | after
afterwards later following once passed, until | since, first earliest oldest | last latest newest, early | late, next
upcoming | last previous past, tomorrow | yesterday, arrive arrival arriving | depart departure departing leave,
arrive enter join entry | leave exit, checkin | checkout, login signin | logout signout, signup register subscribe
join enrol enroll | unsubscribe unregister cancel leave withdraw, install | uninstall remove, add insert attach
include append | remove delete detach exclude subtract drop, create make | delete destroy remove, buy purchase | sell,
borrow | lend, rent lease | buy own, landlord | tenant, send ship sending post outgoing transmit | receive receiving
incoming, sender | recipient receiver, give | take, deposit | withdraw withdrawal, pay charge bill | refund reimburse,
invoice payment charge | refund reimbursement, credit | debit, debtor | creditor, profit gain | loss, win winner |
lose loser, upload | download, import | export, encrypt lock encode compress zip pack | decrypt unlock decode
decompress unzip unpack extract, push | pull, read | write, input | output, save keep store | delete discard, save |
spend, show display unhide visible reveal | hide hidden invisible, increase raise grow more higher rise extend enlarge
bigger expand lengthen upsize | decrease lower reduce less shrink smaller shorten drop fall, more most | less fewer
least, maximum max highest most biggest largest | minimum min lowest least smallest, high | low, over above exceed
exceeding more larger bigger greater higher beyond | under below less smaller within, lose lost missing misplace |
find found, big large huge | small little tiny, long | short, tall | short, fast quick faster quicker | slow slower,
upgrade promote | downgrade demote, up upstairs | down downstairs, inside indoor indoors inbound | outside outdoor
outdoors outbound, internal | external, domestic national inland | international abroad foreign overseas, import
incoming inbound | export outgoing outbound, public | private, online | offline, online website web internet | store
shop instore, manual manually | automatic automatically auto, temporary temporarily | permanent permanently, always |
never, same | different, with | without, full | empty, new add | old secondhand remove, hot warm heat | cold cool,
heat heating | cool cooling, wet | dry, hard difficult | easy simple, hard | soft, cheap cheapest cheaper | expensive
dearest dearer, rich | poor, strong | weak, light | dark heavy, day daytime | night nighttime, morning | evening
afternoon, front | back rear, left | right, top | bottom, north northern | south southern, east eastern | west
western, male man men boy husband | female woman women girl wife, adult | child kid minor, employer | employee,
teacher | student, buyer | seller, landlord owner | tenant renter, host | guest, parent | child, doctor | patient,
lender | borrower, alive living | dead, love like enjoy | hate dislike, positive | negative, active | passive
inactive, optimistic | pessimistic, happy glad | sad unhappy, brave courageous bold | cautious fearful afraid timid
cowardly, confident | shy insecure, polite | rude impolite, kind | cruel mean, progressive liberal | conservative,
humble modest | arrogant proud, calm | angry nervous anxious, patient | impatient, lazy | hardworking diligent,
careful | careless, safe secure | dangerous unsafe, specific | vague general, hopeful | hopeless, useful | useless,
harmful | harmless, success succeed successful | failure fail unsuccessful, pass | fail, true | false, right correct |
wrong incorrect, legal | illegal, better best | worse worst, good | bad, advantage advantages pro pros benefit
benefits | disadvantage disadvantages con cons drawback drawbacks, agree | disagree, connect pair link attach |
disconnect unpair unlink detach, follow | unfollow, include including included | exclude excluding excluded except,
single | double married multiple, single oneway | return roundtrip, vertical portrait | horizontal landscape,
encourage | discourage, ascend ascending | descend descending, sunrise | sunset, breakfast | dinner lunch, lunch |
dinner, wholesale | retail, gross | net, fixed | variable floating adjustable, mandatory required compulsory
obligatory | optional voluntary, merge combine join | split separate divide, expand | collapse, zoomin | zoomout,
synchronous | asynchronous, prepaid | postpaid, vegetarian vegan | meat, odd | even, major | minor, gain | lose,
freeze freezing | unfreeze thaw, pause | resume continue, backup | restore, undo revert | redo apply, hire recruit |
fire dismiss, friend | enemy, absent | present, fiction | nonfiction, male | female, mortal | immortal, forward |
backward, clockwise | counterclockwise anticlockwise, checking | savings, fat | thin slim, smart clever intelligent |
stupid dumb, powerful strong | powerless weak, remember | forget, work working functional | broken, offensive |
defensive, famous | unknown obscure, healthy | sick ill unhealthy, clean | dirty, near | far, wide | narrow, deep |
shallow, loud noisy | quiet silent, heavy | light, beautiful pretty | ugly, beginner novice | expert advanced,
singular | plural, compatible | incompatible, dependent | independent, physical | digital virtual, weekday workday |
weekend, earn | spend, heavier heaviest | lighter lightest, older oldest | newer newest younger youngest, stronger |
weaker, longer longest | shorter shortest, taller | shorter, earlier | later, wider | narrower, thicker | thinner,
softer | harder, warmer | colder cooler, nearer | farther, first | second, fuller | emptier, richer | poorer, born
birth | die death
""".strip()
"""Groups with commas between; each word left of the bar is the contrary of each right of it."""


PREFIXES: Final = listed("un in im ir il dis de non anti counter mis")
"""What turns a word round when it is put in front."""

LESS: Final = listed("less least fewer not non no never un without hardly")
"""What turns the next word round when it stands before it."""
