"""Small words: those that carry no content, that ask, that deny, that join, and that say who. Tables only."""

from __future__ import annotations

from typing import Final

from fastclient.cache.guards.listed import listed

__all__ = [
    "ACTIONS",
    "ASKING",
    "ASPECTS",
    "BEING",
    "CONTRACTIONS",
    "DENIED",
    "JOINING",
    "NEGATORS",
    "PEOPLE",
    "PHRASES",
    "PLAIN",
    "SHORTENED",
    "SPELLINGS",
    "SYMMETRIC",
]


def _pairs(table: dict[str, str]) -> dict[tuple[str, str], str]:
    """Each pair of words that a table has after a word, and the word."""
    return {
        (first, second): word for word, pairs in table.items() for first, second in map(str.split, pairs.split(","))
    }


PLAIN: Final = listed("""
a an the this that these those there here it its it's i i'm im me my mine myself we us our ours ourselves you your
yours yourself u ur he him his she her hers they them their theirs one's someone's be am is are was were been being
do does did doing done have has had having can could will would shall should may might must ought need needs needed
want wants wanted wanna gonna get gets getting got gotten let lets of in on at to for from by with about into onto
upon as per via than then so and or but nor if whether because since while when where why who whom whose what which
how that's please pls plz thanks thank hi hello hey dear kindly just really actually truly indeed exactly simply
basically possibly perhaps maybe very quite rather too also again ever even still already yet well ok okay like
would'd way ways step steps process procedure method tell explain show know help wonder wondering possible able
explanation question questions info information details detail thing things stuff something anything some any make
makes making made go goes going went use uses using used try trying tried give gives take takes work works out up
off over under down through during after before until till between among against around within without not no never
none nobody nothing neither cannot more less most least much many lot lots bit such own same other another each
every all both either only now currently today mean means meaning instructions instruction guide quick quickly
easily easy best good correct right proper exact someone somebody anyone anybody looking usedto hows whats wheres
regarding concerning happen happens happened happening become becoming first one etc allowed allow permitted permit
permission there's vs versus
""")
"""Words without content of their own: two questions that differ in these alone may still be the same."""

NEGATORS: Final = listed("not no never without nobody nothing none neither nor cannot nowhere non stop-no-longer")

DENIED: Final = listed("""
unable fail fails failed failing failure refuse refuses refused stop stops stopped stopping avoid avoids prevent
prevents missing lost lose impossible lack lacks lacking deny denied denies reject rejected rejects rejection
decline declined declines broken error errors wrong problem problems trouble issue issues free disable disabled
forget forgot forgotten forgetting except unavailable block blocked blocks gone stuck crash crashes crashed
hardly rarely ban banned forbidden prohibited exempt skip skips skipping omit quit waive waived unlimited
waste useless incorrect invalid bug bugs complaint down dead empty nonprofit charity unsubscribe optout dispute
challenge contest disagree avoid expire expired unwanted uninstall
""")
"""Words that say no without a negator: `unable to log in` and `can't log in` agree."""

ASKING: Final[dict[str, str]] = {
    **dict.fromkeys(("why", "reason", "reasons", "cause", "causes", "come-why"), "why"),
    **dict.fromkeys(("when", "time-when", "date", "soon"), "when"),
    **dict.fromkeys(("where", "location", "locations", "address", "located"), "where"),
    **dict.fromkeys(("who", "whom", "whose"), "who"),
    **dict.fromkeys(("long-duration", "duration", "deadline", "window", "long"), "duration"),
    **dict.fromkeys(
        listed("""
cost costs price prices priced pricing fee fees charge charges charged expensive cheap cheaper much-cost tariff
"""),
        "cost",
    ),
    **dict.fromkeys(listed("limit limits maximum max cap quota most limited allowance minimum min least"), "limit"),
}
"""What a question asks for, where a word gives it away."""

BEING: Final = listed("am is are was were be been being get gets got getting s're 're")
"""What stands before the verb of a passive."""

ACTIONS: Final = listed("""
accept access activate add apply approve ask assign attach backup block book borrow bring build buy call cancel
change charge check choose claim clean clone close collect combine compare complain configure confirm connect
contact convert copy create decline decrease delay delete deliver deploy deposit disable disconnect dispute divide
donate download downgrade drop edit enable end exchange expire export extend fill filter find fix forget format
freeze generate get hide hire import increase insert install invite join keep launch leave lend lock log login
logout lose lower mail measure merge migrate move mute open order pack park pause pay pick play postpone prepare
prevent print protect prove publish raise read receive recover redeem reduce refund refuse register remove rename
renew rent repair repeat replace reply report request reschedule reserve reset restart restore resume return reuse
review rotate run save scan schedule search see select sell send set share shut signup skip sort split start stop
store submit subscribe suspend switch swap tell test track transfer translate travel undo uninstall unlock
unsubscribe update upgrade upload validate verify view visit wait waive wash watch win withdraw write
""")
"""What people do. Two questions about doing different things are seldom the same."""

SYMMETRIC: Final = listed("""
vs versus between married related similar same different difference differences compare compared comparison friend
friends friendly equal equals equivalent identical connected linked engaged known near close apart separated
acquaintance acquaintances acquainted colleague colleagues classmate classmates coworker coworkers teammate
teammates roommate roommates flatmate flatmates relative relatives twin twins partner partners together cousin
cousins sibling siblings neighbor neighbors neighbour neighbours meet meets divorced dating distance mix combine
combined combination relationship connection correlated
""")
"""Words that let two others change places: `the difference between A and B`."""

ASPECTS: Final[dict[str, str]] = {
    "becoming": "becoming",
    "usedto": "before",
    **dict.fromkeys(("will", "shall"), "future"),
    **dict.fromkeys(("did", "was", "were"), "past"),
}
"""Whether something is, was, will be, or is about to be."""

JOINING: Final[dict[str, str]] = {"or": "or", "either": "or", "and": "and", "both": "and", "simultaneously": "and"}

PEOPLE: Final[dict[str, str]] = {
    **dict.fromkeys(listed("he him his she her hers they them their theirs someone somebody"), "others"),
    **dict.fromkeys(listed("wife husband spouse partner girlfriend boyfriend"), "spouse"),
    **dict.fromkeys(
        listed("son daughter child children kid kids baby infant toddler minor minors teenager teen"), "child"
    ),
    **dict.fromkeys(listed("mother father mom dad mum parent parents"), "parent"),
    **dict.fromkeys(listed("brother sister friend friends roommate flatmate"), "friend"),
    **dict.fromkeys(listed("colleague coworker teammate employee employees staff team member members"), "staff"),
    **dict.fromkeys(listed("customer customers client clients guest guests visitor visitors"), "customer"),
    **dict.fromkeys(listed("organization organisation company business companies enterprise corporate"), "company"),
    **dict.fromkeys(
        listed("contractor contractors freelancer freelancers intern interns trainee trainees"), "contractor"
    ),
    **dict.fromkeys(listed("student students pupil pupils"), "student"),
    **dict.fromkeys(listed("senior seniors pensioner pensioners retiree retirees elderly"), "senior"),
    **dict.fromkeys(listed("everyone everybody all every each entire whole"), "all"),
    **dict.fromkeys(listed("only"), "only"),
}
"""Whom a question is about, other than the asker."""

CONTRACTIONS: Final[dict[str, str]] = {
    "can't": "can not",
    "cant": "can not",
    "cannot": "can not",
    "won't": "will not",
    "wont": "will not",
    "shan't": "shall not",
    "ain't": "is not",
    "dont": "do not",
    "doesnt": "does not",
    "didnt": "did not",
    "isnt": "is not",
    "arent": "are not",
    "wasnt": "was not",
    "couldnt": "could not",
    "wouldnt": "would not",
    "shouldnt": "should not",
    "havent": "have not",
    "hasnt": "has not",
    "let's": "let us",
    "gonna": "going to",
    "wanna": "want to",
    "gotta": "have to",
    "whats": "what is",
    "thats": "that is",
    "youre": "you are",
    "hows": "how is",
    "wheres": "where is",
    "im": "i am",
    "ive": "i have",
    "y'all": "you all",
    "o'clock": "oclock",
}

SHORTENED: Final[dict[str, str]] = {
    "'m": "am",
    "'re": "are",
    "'ve": "have",
    "'ll": "will",
    "'d": "would",
    **dict.fromkeys(listed("what how where who when why that it there he she here"), "is"),
}
"""What an apostrophe stands for, and the words after which an `'s` is an `is`."""

SPELLINGS: Final = _pairs(
    {
        "login": "log in,sign in,log on,sign on,logging in,signing in,logged in,signed in,logs in",
        "logout": "log out,sign out,log off,logging out,signing out,logged out,signed out",
        "signup": "sign up,signing up,signed up",
        "setup": "set up,setting up",
        "checkin": "check in,checking in,checked in",
        "checkout": "check out,checking out,checked out",
        "wifi": "wi fi",
        "email": "e mail",
        "twofactor": "two factor,2 factor,two step,multi factor",
        "postcode": "zip code,post code,postal code",
        "cellphone": "cell phone,mobile phone",
        "smartphone": "smart phone",
        "offline": "off line",
        "online": "on line",
        "website": "web site",
        "homepage": "home page",
        "username": "user name",
        "fulltime": "full time",
        "parttime": "part time",
        "newline": "new line",
        "percent": "per cent",
        "kwh": "kilowatt hour,kilowatt hours",
    }
)
"""Two words that are another way to write one."""

PHRASES: Final = _pairs(
    {
        "return": "send back,sending back,give back,giving back,bring back,take back",
        "enable": "turn on,switch on,turning on,switching on,turned on,switched on,power on",
        "disable": "turn off,switch off,turning off,switching off,turned off,switched off,power off",
        "stop": "shut down,shutting down",
        "increase": "scale up,turn up,go up,goes up,move up",
        "decrease": "scale down,turn down,go down,goes down,cut down",
        "remove": "get rid,getting rid,take off,take down",
        "collect": "pick up,picking up",
        "handluggage": "hand luggage,hand baggage,cabin bag,cabin baggage,cabin luggage,carry on",
        "long-duration": "how long",
        "much-cost": "how much",
        "time-when": "what time,which time",
        "come-why": "how come",
        "atm": "cash machine,cash point",
        "reschedule": "put off",
        "find": "figure out,find out",
        "abroad": "other countries,another country,foreign countries",
        "usedto": "used to,use to",
        "lost": "not find",
        "forget": "not remember",
        "disagree": "not agree",
        "without": "with no,w o",
        "stop-no-longer": "no longer",
        "only-not": "not only",
        "lots": "a lot",
        "fillin": "fill in,fill out",
    }
)
"""Two words that mean what one says."""
