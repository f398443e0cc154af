"""Words that mean the same often enough to count as part of a match: less of a doubt, never a proof. A table only."""

from __future__ import annotations

from typing import Final

__all__ = ["SYNONYMS"]

SYNONYMS: Final = """
buy purchase order acquire get, order purchase, return refund sendback, refund reimburse reimbursement moneyback
repay, cancel terminate end stop void abort call-off, delete remove erase close wipe drop purge clear, close delete
deactivate, change modify update edit alter switch adjust amend replace, move shift transfer relocate migrate port
reschedule switch, transfer send wire move, reschedule rebook postpone change move, migrate switch convert port move
transition, convert turn transform parse change cast, upgrade switch move update, fix repair solve resolve correct
troubleshoot mend sort, broken damaged defective faulty fail failing error cracked, fail error reject decline crash,
problem issue trouble error fault, start begin launch commence run, stop halt end terminate kill quit shut, run
execute launch start, create make build generate new add open set, add include insert attach append invite, invite
add, join enroll enrol register signup subscribe, register signup subscribe enroll enrol apply, setup install
configure setting, configure setting customize adjust, install setup deploy, setting preference option configuration
config, login signin access authenticate, account profile membership login, password passcode passphrase pin
credential login, reset recover restore change, forget lose forgot, lose missing misplace gone stolen, steal rob theft
stolen, user person people member account, colleague coworker teammate member employee staff, employee staff worker
personnel, team group department crew, company firm business organization organisation employer, boss manager
supervisor, customer client, child kid minor infant baby toddler, adult grownup, pay payment settle bill charge,
charge bill debit, charge fee cost price, cost price fee rate expensive charge pay, bill invoice statement, receipt
proof, money cash fund amount, expense cost spending, cheap affordable inexpensive, discount rebate offer deal
reduction special sale coupon, coupon voucher promo promotion promotional code, promo discount, redeem apply use
enter, free complimentary gratis, card creditcard debitcard, subscription membership plan contract, plan tier package
subscription tariff, renew extend prolong, renew renewal auto, trial demo test, ship deliver delivery send dispatch,
delivery shipping shipment, package parcel shipment, parcel package, track status trace locate follow, status state
progress, late delay delayed overdue, deadline due limit cutoff, wait waiting, arrive get come, quick fast rapid
speed, slow sluggish lag lagging, long duration length, period window time term timeframe, day daily, week weekly,
month monthly, year yearly annual, vacation holiday leave pto timeoff, sick ill illness sickness, limit maximum cap
quota restriction allowance, max maximum, min minimum, withdraw withdrawal takeout cash, atm cashpoint, deposit payin,
open opening hours, open start create, hour time schedule, website site page web online internet, online web internet
website, store shop outlet branch, item product article good goods, shoe sneaker footwear, clothing clothes apparel
garment, size fit, color colour, box carton package, bag luggage baggage suitcase, handluggage carryon cabin, cabin
board aboard, flight plane fly, ticket fare pass, seat place, book reserve reservation booking schedule, appointment
booking slot visit, visit come go, table reservation, trip travel journey, travel visit go trip, hotel accommodation
room, room accommodation, guest visitor, car vehicle auto automobile, drive driving, rent hire lease rental, park
parking, train rail railway, bus coach, bike bicycle cycle, house home apartment flat property, flat apartment,
address location, country abroad overseas, abroad overseas international foreign, overseas international abroad, pet
animal dog cat, food meal dish, drink beverage, water liquid, liquid fluid, bottle container, medicine drug medication
pill tablet, doctor physician gp, hospital clinic, appointment consultation, pain ache hurt, test exam examination
check, check verify confirm test inspect, verify confirm validate, confirm confirmation, grade mark score, class
course lesson, course program programme class, teacher instructor tutor professor, student learner pupil, learn study,
book title, library collection, job position role work, salary wage pay, hire recruit employ, apply application
request submit, request ask demand, approve authorize authorise signoff allow grant accept, document form paper file
certificate, file document, form document paperwork, download save get export, upload attach send submit, export
download extract, import load upload, data information record content, copy duplicate clone, backup copy, picture
photo image pic, video film movie clip, music song track, game play, phone telephone cellphone mobile smartphone,
phone number, call ring phone contact, contact reach call speak talk, email mail message, message text sms
notification, notification alert message reminder, advertising marketing ad newsletter promotional, advertise
marketing, unsubscribe optout, computer pc laptop machine, laptop notebook, mac macbook macos, app application program
software, software program, function method, error bug exception fault, bug defect issue, screen display monitor,
button key, connect link pair join, connection link, network internet wifi, wifi wireless, server host machine,
database db, string str text, integer int number, list array, folder directory, undo revert rollback reverse cancel
takeback, commit change, latest last newest recent, last recent latest final, version release, release publish launch,
new latest, container docker, memory ram, limit restriction, raise increase grow bigger boost higher expand extend,
reduce decrease lower cut shrink smaller, activate enable start, enable activate allow, disable deactivate, allow
permit accept enable, accept take support, support accept offer, offer provide give have, provide supply offer give,
privilege right permission access, right permission, access reach, security safety protection, protect secure, safe
secure, private confidential, key token, twofactor mfa tfa, authentication auth, authenticate login, difference
compare distinguish differ, compare difference versus, different differ, similar alike like, choose pick select,
select choose, prefer like, recommend suggest, recommendation suggestion tip advice, advice recommendation, best top,
better superior, important essential, necessary required needed, require need necessary mandatory must, mandatory
compulsory obligatory required, rule policy regulation, policy rule term condition, law regulation, tax duty,
insurance coverage cover insure policy, claim file, dispute contest challenge, report tell, complain complaint, insure
cover, mortgage loan, loan credit, interest rate, balance amount, transaction payment charge, double twice duplicate,
part partial portion, partway mid middle, middle mid, whole entire full complete, full complete, finish complete end,
visa permit, nonprofit charity charitable ngo, license licence, electricity power energy, power electricity, heating
heater, temperature heat, light lamp, repair fix, clean wash, wash laundry, trash garbage rubbish waste, children kid,
gym fitness, exercise workout training, coach trainer, allergy allergic, vegetarian vegan, scared frightened afraid
fearful, happy joyful glad, angry furious mad, humble modest, brave courageous, unhappy sad, big large, small little,
rich wealthy, smart clever intelligent, famous wellknown, author writer, kill murder, marry wed, own possess, destroy
demolish, student pupil, replace exchange swap substitute, exchange swap, find locate search, search look find, see
view look watch check, view see display, display show, sign signature, fill complete, submit send hand, keep retain,
hold keep, lock secure, unlock open, wrong incorrect, correct fix right, valid active, expire expiry expiration
run-out, expiry deadline, age old, birthday birthdate, write compose, speak talk, say tell, help assist support,
support assistance, service support, agent representative, representative agent, fail unable, prepare ready, live
reside, begin start
""".strip()
"""Groups of words with commas between; a word may be in several."""
