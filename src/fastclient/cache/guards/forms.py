"""Forms of words that no rule of endings finds: the first of each group stands for the rest of it. A table only."""

from __future__ import annotations

from typing import Final

__all__ = ["FORMS"]

FORMS: Final = """
be am is are was were been being, buy bought, pay paid payment payments payable payer, send sent sending, lose lost
loss losing, find found, take took taken, give gave given, get got gotten, go went gone, come came, make made, know
knew known, think thought, see saw seen, say said, tell told, speak spoke spoken, write wrote written, break broke
broken, choose chose chosen choice, steal stole stolen, forget forgot forgotten, drive drove driven driver, ride rode
ridden, fly flew flown flight flights, eat ate eaten, drink drank drunk, wear wore worn, bring brought, catch caught,
teach taught, sell sold sale sales, hold held, keep kept, leave left, mean meant, meet met, lend lent, spend spent,
build built, feel felt, hear heard, win won, begin began begun, run ran, swim swam, sing sang sung, grow grew grown,
throw threw thrown, draw drew drawn, show shown showed, understand understood, stand stood, hide hid hidden, bite bit
bitten, fall fell fallen, freeze froze frozen, wake woke woken, withdraw withdrew withdrawn withdrawal withdrawals
withdrawing, choose chose chosen, shrink shrank, ship shipping shipment shipments shipped, deliver delivery
deliveries, register registration registrations, subscribe subscription subscriptions subscriber subscribers, apply
application applications applies applied applying, expire expiry expiration, arrive arrival arrivals, approve approval
approvals, renew renewal renewals, remove removal, refuse refusal, rent rental rentals, propose proposal, receive
receipt-of reception, extend extension extensions, permit permission permissions, decide decision, describe
description, prescribe prescription prescriptions, child children, man men, woman women, person people persons, foot
feet, tooth teeth, mouse mice, analyse analysis, try tries tried, die dying died, lie lying lied, argue argument,
repay repaid, reset resets, cost costs costing, fee fees, canada canadian, america american usa, germany german,
france french, japan japanese, britain british uk, spain spanish, italy italian, china chinese, europe european,
postgres postgresql, integer int, string str, javascript js, typescript ts, kubernetes k8s, database databases db,
authenticate authentication auth, configuration config configure configurations, application-software app apps,
repository repo repos, environment env, documentation docs, enquire inquiry enquiry, colour color, favourite favorite,
organise organize organization organisation, cheque check, tyre tire, licence license, programme program, centre
center, enrol enroll enrolment enrollment, bill billing billed bills, book booking booked bookings books
""".strip()
"""Groups of words with commas between."""
