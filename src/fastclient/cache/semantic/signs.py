"""What shows that a question is about the one who asks, or about the moment it is asked. Pure.

It errs on the side of caution: a question that is left alone costs a call, a served answer that was another's or
yesterday's is wrong. English has most of the words, other languages the most telling ones. Patterns are tried only
where one of the words stands that they need, for most questions have none.
"""

from __future__ import annotations

import re
from typing import Final

from fastclient.cache.guards.listed import listed

__all__ = ["momentary", "personal"]

_WORD: Final = re.compile(r"\w+")

_OWN: Final = (
    r"(?:accounts?|address|age|applications?|appointments?|balance|bill|birthday|bonus|bookings?|calendar|card|case"
    r"|claims?|contract|credits|deposit|deliver(?:y|ies)|doctor|exam|flight|grades?|invoices?|loan|luggage|meetings?"
    r"|name|orders?|packages?|parcels?|passport|pay(?:ment|check|slip)s?|plan|points|prescription|purchases?|refunds?"
    r"|replacement|reservation|results?|returns?|salary|schedule|score|shift|shipments?|subscription|tickets?"
    r"|transactions?|transfer|trial|usage|visa)\b"
)
_OTHERS: Final = r"(?!(?:i|we|you|one|people|somebody|someone|my|to|if|can|should)\b)"  # what anybody does
_BEING: Final = r"(?:'s|'re| is| are| was| were| will| has| have| had| did| does| do)?"

_NUMBERS: Final = re.compile(
    r"[\w.+-]{1,64}@[\w-]{1,64}\.\w"  # an e-mail address
    r"|(?<!\w)\+?\d(?:[ ()/-]{0,3}\d){6,}"  # a telephone, account or card number
    r"|\b[a-z]{2}\d{2}(?: ?[a-z0-9]{4}){2,}"  # an IBAN
    r"|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-"
    r"|\b(?:sk|pk|rk|ghp|gho|xox[abp])[-_][\w-]{8,}"  # a key
    r"|#\d{3,}"
    # an order, in one or another's words, and its number
    r"|\b(?:order|ticket|case|claim|invoice|tracking|booking|reservation|account|customer|member|reference|ref|parcel"
    r"|package|shipment|transaction|contract|confirmation|policy|serial|bestellung|auftrag|rechnung|sendung|paket"
    r"|kunde|commande|facture|colis|dossier|pedido|factura|paquete|ordine|fattura|pacco|bestelling|factuur|encomenda"
    r"|zam[oó]wienie|заказ)\w{0,8}(?: ?(?:number|nummer|numero|num\xe9ro|n[uú]mero|num|no|nr|id|code|is|ist|with)"
    r"\b\.?| ?n°| ?№){0,3}[ :#]{1,3}[a-z0-9]{0,4}[-/]?\d{3,}",
    re.IGNORECASE,
)
_MINE: Final = re.compile(
    r"\bmy (?:\w+ )?(?:address|phone|number|birthday|date of birth|ssn|iban) (?:is|was)[ :]{1,3}(?:\w{1,9} ){0,2}\+?\d"
    r"|\bmy (?:\w+ )?(?:password|pin|passcode|code|token|api key|login|user ?name)(?: is|:)"
    r"(?! ?(?:not|n't|wrong|incorrect|expired|locked|invalid|too|never|rejected|lost|forgotten|blocked|being|no)\b)"
    # where is my parcel, what is the status of my order, has my refund come
    rf"|\b(?:(?:where|when|what|why|who|which|how(?: (?:much|many|long|far|soon|often|high|big))?){_BEING}"
    rf"|has|have|is|are|was|were|did|does|do|will)"
    rf"(?: {_OTHERS}[\w']{{1,20}}){{0,4}} my (?:\w{{1,20}} ){{0,2}}{_OWN}"
    rf"|^\W*(?:please )?(?:track|show|check|find|look up|tell|give|send|read|list)(?: me| us)? my "
    rf"(?:\w{{1,20}} ){{0,2}}{_OWN}"
    r"|\bthis is my\b|\bmy (?:full )?name(?: is|'s)\b",
    re.IGNORECASE,
)
_BY_ME: Final = re.compile(
    rf"\b(?:when|where) (?:will|did|would) (?:i|we)\b[^.?!]{{0,24}}\bmy (?:\w{{1,20}} ){{0,2}}{_OWN}"
    r"|\bwhy (?:was|were|have|did|has) (?:i|we)\b|\b(?:was|were|have|did) (?:i|we) (?:\w{1,12} ){0,2}"
    r"(?:charged?|billed|paid|pay|order(?:ed)?|refunded|approved|accepted|rejected|win|won|pass(?:ed)?)\b"
    r"|\bi(?:'ve| have)? (?:was|been|got|were) (?:\w{1,12} ){0,2}(?:charged|billed|debited|refunded)\b",
    re.IGNORECASE,
)
_CALLED: Final = re.compile(r"\b(?:i am|i'm) called\b|\bcall me\b", re.IGNORECASE)
_FOREIGN: Final = re.compile(
    r"\b(?:wo|wann|warum|wie viele?|was|ist|sind|hat|wurde)\b[^.?!]{0,24}\bmeine?[rnms]? (?:\w{1,20} )?(?:bestellung"
    r"|paket|lieferung|sendung|rechnung|erstattung|rückerstattung|konto|guthaben|termin|buchung|antrag|name)"
    r"|\b(?:où|quand|pourquoi|combien|quel(?:le)?)\b[^.?!]{0,24}\bm(?:a|on|es) (?:commandes?|colis|livraison|factures?"
    r"|remboursement|compte|solde|rendez-vous|nom)\b"
    r"|\b(?:d[oó]nde|cu[aá]ndo|cu[aá]nto|por qu[eé]|cu[aá]l)\b[^.?!]{0,24}\bmis? (?:pedidos?|paquetes?|env[ií]o"
    r"|facturas?|reembolso|cuenta|saldo|cita|nombre)\b"
    r"|\b(?:dov'è|dove|quando|perché|qual è)\b[^.?!]{0,24}\bmi[oa] (?:ordine|pacco|fattura|rimborso|saldo|nome)\b"
    r"|我的(?:订单|訂單|包裹|账户|帳戶|余额|餘額|退款|快递)|(?:私|僕)の(?:注文|荷物|残高|名前)"
    r"|내 (?:주문|택배|잔액|환불)|\b(?:где|когда|почему)\b[^.?!]{0,24}\bмо[йяёи]{1,2} (?:заказ|посылка|счет|возврат)"  # noqa: RUF001
    r"|\b(?:ich hei(?:ß|ss)e|je m'appelle|me llamo|mi chiamo|meu nome é|ik heet)\b",
    re.IGNORECASE,
)
_I: Final = frozenset(("i", "we"))
_DONE: Final = listed("why was were have did will would been got ve has charged billed debited refunded")
_OF_MINE: Final = listed("""
mein meine meiner meinen meines meinem ma mon mes mi mis mia mio moi ich je llamo chiamo nome ik
""")
_TELLING: Final = re.compile(r"[\d@#_]")

_UNTIL: Final = r"(?:days?|weeks?|hours?|minutes?|months?) (?:is it |are there )?(?:until|till|to go|left)\b"

_MOMENT: Final = re.compile(
    r"\b(?:today|todays|tonight|tomorrow|yesterday|now|nowadays|currently|current(?! account)|at the moment"
    r"|at present|as of|these days|latest|newest|up to date|recent|recently|so far|upcoming|just in"
    r"|this (?:morning|afternoon|evening|week|weekend|month|quarter|year|season|christmas|summer|winter|spring)"
    r"|(?:last|next|past|coming) (?:night|week|weekend|month|quarter|year|season|monday|tuesday|wednesday|thursday"
    r"|friday|saturday|sunday)"
    r"|(?:minutes?|hours?|days?|weeks?|months?|years?) ago"
    r"|(?:what|which) (?:time|day|date|month|year|week) (?:is it|is this|are we|do we)"
    r"|what(?:'s| is) the (?:weather|news|(?:time|date|day)(?= ?[?.!]|$| in\b| there\b| right\b))"
    r"|got the time|weather|forecast|headlines?|any (?:news|updates?)|breaking news|in stock|sold out"
    r"|live (?:scores?|streams?|results?|updates?|prices?|rates?|traffic|status)"
    r"|traffic (?:report|situation|conditions)|who(?:'s| is) (?:winning|leading|playing)"
    r"|(?:exchange|conversion) rates?|(?:stock|share|bitcoin|btc|gold|oil|gas|ether\w*) prices?"
    r"|(?:price|value) of (?:bitcoin|btc|eth\w*|gold|silver|oil|gas|(?:a |the )?(?:dollar|euro|pound|yen|barrel))"
    r"|how much is (?:a |one |1 )?(?:bitcoin|btc|eth\w*|dollar|euro|pound|yen)"
    rf"|(?:how many|how much|how) {_UNTIL}"
    r"|how long (?:is it )?(?:until|till) (?:christmas|easter|new year|summer|winter|spring|autumn)|how old am"
    r"|heute|morgen|gestern|jetzt|aktuell\w{0,2}|momentan|zurzeit|derzeit|diese[rsn]? (?:woche|monat|jahr)|uhrzeit"
    r"|(?:nächste|letzte)[rsn]? (?:woche|monat|jahr)|aujourd'hui|demain|maintenant|actuel\w{0,7}|en ce moment"
    r"|cette (?:semaine|année)|ce mois|hoy|mañana|ayer|ahora|actualmente|esta (?:semana|noche)|este (?:mes|año)"
    r"|oggi|domani|ieri|adesso|attual\w{0,6}|questa settimana|hoje|amanhã|ontem|agora|atualmente|vandaag|gisteren"
    r"|tegenwoordig|dzisiaj|dziś|jutro|wczoraj|teraz|idag|imorgon|igår|сегодня|завтра|вчера|сейчас)\b"
    r"|今天|明天|昨天|现在|現在|目前|今日|明日|昨日|今週|今月|今年|本周|本月|오늘|내일|어제|지금|현재|이번 주",
    re.IGNORECASE,
)
_HEADS: Final = listed("""
today todays tonight tomorrow yesterday now nowadays currently current moment present as these latest newest up recent
recently so upcoming just this last next past coming ago time day date month year week weather news got forecast
headline headlines any breaking stock sold live traffic who exchange conversion price prices value much many until till
left long old
heute morgen gestern jetzt aktuell aktuelle aktueller aktuelles aktuellen momentan zurzeit derzeit diese dieser dieses
diesen uhrzeit letzte letzter letzten letztes aujourd demain maintenant actuel actuelle actuels actuelles actuellement
en cette ce hoy ayer ahora actualmente esta este oggi domani ieri adesso attuale attuali attualmente questa hoje ontem
agora atualmente vandaag gisteren tegenwoordig dzisiaj jutro wczoraj teraz idag imorgon
""")


_STATE: Final = re.compile(r"\b(?:is|are)\b[^.?!]{0,40}\b\w+\W*$|\byet\W*$", re.IGNORECASE)
_STATES: Final = listed("open closed down offline online up yet")


def personal(question: str) -> bool:
    """Whether the answer may depend on who asks."""
    low = question.lower()
    words = frozenset(_WORD.findall(low))
    if (_TELLING.search(low) or "sk" in words) and _NUMBERS.search(question):
        return True
    if "my" in words and _MINE.search(question):
        return True
    if not (_I.isdisjoint(words) or _DONE.isdisjoint(words)) and _BY_ME.search(question):
        return True
    if ("called" in words or "call" in words) and _CALLED.search(question):
        return True
    return not (low.isascii() and _OF_MINE.isdisjoint(words)) and _FOREIGN.search(question) is not None


def momentary(question: str) -> bool:
    """Whether the answer may be another one at another time."""
    low = question.lower()
    words = _WORD.findall(low)
    if words and words[-1] in _STATES and _STATE.search(question):
        return True
    return not (low.isascii() and _HEADS.isdisjoint(words)) and _MOMENT.search(question) is not None
