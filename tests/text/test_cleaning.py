from __future__ import annotations

import pytest

from mwanda.text.cleaning import Cleaner, CleaningCounts, english_lines
from mwanda.text.rows import Document

ENGLISH = "You can change the settings of your computer from the menu that is shown here."
GERMAN = "Sie können die Einstellungen Ihres Rechners im Menü ändern, das hier gezeigt wird."


def documents(*texts: str) -> list[Document]:
    return [Document(text, number) for number, text in enumerate(texts)]


def clean(
    pages: list[Document], language: str, *, english: frozenset[bytes] = frozenset()
) -> tuple[list[Document], CleaningCounts]:
    cleaner = Cleaner(language, english=english)
    return list(cleaner.clean(pages)), cleaner.counts


def test_pages_that_come_twice_are_dropped() -> None:
    pages = documents("Eine Seite", "eine  SEITE\n", "Ｅｉｎｅ Seite", "Andere Seite")
    kept, counts = clean(pages, "de")
    assert kept == [pages[0], pages[3]]
    assert counts == CleaningCounts(documents_seen=4, duplicates_dropped=2)


def test_english_lines_are_dropped_and_counted() -> None:
    pages = documents(f"{GERMAN}\n{ENGLISH}\nEnde", ENGLISH, GERMAN)
    kept, counts = clean(pages, "de")
    assert kept == [Document(f"{GERMAN}\nEnde", 0), pages[2]]
    assert counts == CleaningCounts(3, 0, 2, 1)


@pytest.mark.parametrize("language", ["en", "en-GB", "sco", "pcm", "jam", "tpi"])
def test_english_and_its_creoles_keep_their_lines(language: str) -> None:
    pages = documents(ENGLISH)
    assert clean(pages, language, english=english_lines(pages)) == (pages, CleaningCounts(1))


@pytest.mark.parametrize(
    ("language", "line"),
    [
        ("de", GERMAN),
        ("nl", "Explorer key symbol of Explorer key symbol of Explorer, of niet of wel of niet"),
        ("da", "Det er godt for os at have noget, og for jer at have noget med under rejsen"),
        ("nb", "De må be for oss alle, og det er for sent å be om noe annet for i dag"),
        ("pl", "Jeśli nie anuluje to zadania wydruku, to spróbuj przytrzymać przycisk to"),
        ("yo", "Nigba iji-lile, sno to to ha o mo le tete ro."),
        ("vi", "Phóng to và bỏ phóng to (phục hồi) cửa sổ"),
        ("af", "Hy was in die huis en het was vir my of vir jou gekoop, of is dit nie so nie"),
        ("ro", "Ea are un câine, el are o pisică și bunica are o casă mare la țară"),
        ("pt", "Quem for ao mercado e for depois para casa, se for cedo, for a pé"),
        ("mg", "Ny trano be sy ny olona be dia be ary ny zavatra be dia be koa"),
        ("ht", "Li te di yo ke yo te kapab ale nan kay la pou yo manje ak zanmi yo"),
        ("sw", "Haki za binadamu ni za watu wote bila ubaguzi wa aina yoyote ile duniani"),
        ("zh", "海地正义与民主研究所 (Haitian Institute for Justice and Democracy) 引用的独立研究"),
        ("ru", "Откройте Settings and the Control Center и выберите раздел «Сеть» в списке слева"),
    ],
)
def test_the_words_of_other_languages_are_not_english(language: str, line: str) -> None:
    assert not Cleaner(language).is_english(line)


def test_another_script_is_stricter_with_english() -> None:
    line = "Open the Settings and choose the Network"
    assert Cleaner("ru").is_english(line)
    assert not Cleaner("de").is_english(line)
    assert not Cleaner("ru").is_english("GNOME Shell, Nautilus, Evolution, Epiphany")
    assert not Cleaner("ru").is_english("The GNOME")


def test_a_line_of_the_english_page_was_never_translated() -> None:
    english = english_lines(documents("Mouse, touchpad & touchscreen\nOK\nShort heading"))
    pages = documents("Maus\nmouse,  Touchpad & touchscreen\nOK\nShort heading")
    kept, counts = clean(pages, "de", english=english)
    assert kept[0].text == "Maus\nOK\nShort heading"
    assert counts.english_lines_dropped == 1
    assert len(english_lines(documents(f"{ENGLISH}\n{GERMAN}"), most=1)) == 1


def test_cleaning_is_lazy_and_counts_as_it_goes() -> None:
    cleaner = Cleaner("de")
    stream = cleaner.clean(iter(documents("a", "b", "c")))
    assert cleaner.counts == CleaningCounts()
    next(stream)
    assert cleaner.counts == CleaningCounts(documents_seen=1)


@pytest.mark.parametrize(
    ("language", "line"),
    [
        ("hi-Latn", "Yaar kal the meeting with the client was cancelled, ab what should we do?"),
        ("hi-Latn", "Mujhe lagta hai ki this movie is the best of the year, tum log kya bolte ho"),
        ("ur-Latn", "Mujhe aaj the best news mili hai that you can not imagine, bohat khushi hui"),
        ("bn-Latn", "Ami tomake this is the best bolechilam but you did not listen to what I said"),
        ("fil", "Mag-meeting tayo this Friday about the budget and yung mga reports from the team"),
        ("fil", "I was thinking about it kasi we have to submit this Friday, sana matapos natin"),
        (
            "sr-Latn",
            "Sve što je potrebno jeste da on dođe, a to nije the end of the world and that",
        ),
        ("hi", "Mujhe lagta hai ki this movie is the best of the year, tum log kya bolte ho"),
        ("hi", "Yaar kal ka match dekha? What a finish by the team, maza aa gaya bhai log"),
        ("pcm", "Dem say di gofment don do wetin dem suppose do, but na the people dey suffer"),
        ("en-SG", "Wah this one very good leh, you can try the food there, not expensive one"),
        ("nl", "We hebben de deadline voor the big meeting gemist, of was dat pas in de week erna"),
        ("fy", "It wie in moaie dei en wy gongen mei de boat nei it eilân om the was te sjen"),
        (
            "sco",
            "The wee lassie was awa tae the shops wi her mither and they had been there aw day",
        ),
        ("zu", "Ngiyathanda ukubuka the news with umama wami ekuseni ngaphambi kokuya emsebenzini"),
        (
            "id",
            "Gue pikir deadline project ini harusnya minggu depan, which is masih lama from now",
        ),
        ("de", "Das Update und die Features of the Year sind laut Hersteller ab sofort verfügbar"),
    ],
)
def test_text_that_mixes_english_in_is_not_english(language: str, line: str) -> None:
    assert not Cleaner(language).is_english(line)


@pytest.mark.parametrize("language", ["de", "sw", "sv", "id", "hi", "zh", "ru", "azb"])
@pytest.mark.parametrize(
    "line",
    [
        "This page has not been translated yet, and you can help us with the translation.",
        "The president said on Monday that the government would not accept the proposal.",
        "Click here to read more about our privacy policy and the terms of service.",
        "He was born in London and studied at the University of Oxford before moving to Paris.",
        "I do not know what to say about that because it is not true.",
        "Select the files from the list and press the Delete button",
    ],
)
def test_english_left_in_is_english(language: str, line: str) -> None:
    assert Cleaner(language).is_english(line)


@pytest.mark.parametrize(
    ("language", "line"),
    [
        ("bn", "Ami toh the movie ta dekhechi kalke raate, it was so good je bolte parbo na"),
        (
            "bn",
            "ei project ta complete korte hobe because the deadline is tomorrow bole boss boleche",
        ),
        ("ta", "naan nethu the movie paathen it was super machi romba nalla irunthuchu"),
        ("ta", "Enna bro this is not fair nu sollitu poitaan avan"),
        ("te", "nenu ninna the movie chusanu chala bagundi it was nice anipinchindi naku"),
        ("gu", "hu kale the movie joi ane it was khub saras hati mane gami"),
        ("ml", "njan innale the padam kandu it was adipoli ennu thonni"),
        ("el", "kalimera se olous tha vgoume simera me to the best paidia tis parea"),
        ("ru", "ya vchera smotrel the best film po sovetu druga i on mne ne ponravilsya"),
        ("fa", "man diruz the film ro didam va kheili khub bud it was great vali toolani"),
        ("ar", "ana roht the cinema embareh w shoft film gamed awy it was amazing bgd"),
        ("am", "ine the film ayehu ena betam konjo neber"),
    ],
)
def test_a_phrase_of_english_makes_no_romanised_line_english(language: str, line: str) -> None:
    assert not Cleaner(language).is_english(line)


MIXED = {
    "de": "The Sound of Music und The Lord of the Rings sind bekannte Filme aus dieser Zeit",
    "sv": "The Rolling Stones, The Who and The Beatles var alla med i the British invasion",
}
OWN = {
    "de": [
        "Der Film und das Buch sind aus dieser Zeit, aber nicht sehr bekannt im Land",
        "Die Lieder sind alt und kommen aus dieser Gegend, die heute kaum jemand kennt",
        "Hier hängen Bilder aus dieser Sammlung, und man sieht sie gern im Winter an",
        "Aus dieser Stadt kamen zwei Maler und ein Dichter, sie sind heute vergessen",
    ],
    "sv": [
        "De var alla med om samma sak och ingen av dem ville prata mer om saken",
        "Hon var med i laget redan som barn och alla i byn kände till henne",
        "Vi var alla trötta men följde ändå med till stugan vid den lilla sjön",
    ],
}


@pytest.mark.parametrize("language", MIXED)
def test_titles_in_a_sentence_of_the_texts_own_words_are_kept(language: str) -> None:
    assert Cleaner(language).is_english(MIXED[language])
    pages = documents(MIXED[language], *OWN[language], ENGLISH, ENGLISH + " Linux und Windows")
    kept, counts = clean(pages, language)
    assert kept == pages[:-2]
    assert counts.english_lines_dropped == 2


def test_english_that_fills_a_text_is_not_learnt_as_its_own_words() -> None:
    lines = [f"Item {n} of the list was removed from the files that you can see" for n in range(50)]
    names = [
        f"Delete file {n}, press enter, select files, close window, open files" for n in range(9)
    ]
    lines += [f"You can select the files that are in list {n}, and press enter" for n in range(20)]
    kept, _ = clean(documents(*lines, *OWN["de"], *names), "de")
    assert [one.text for one in kept] == [*OWN["de"], *names]


def test_a_line_of_the_english_page_goes_even_where_languages_mix() -> None:
    english = english_lines(documents(ENGLISH))
    assert Cleaner("hi-Latn", english=english).is_english(ENGLISH)
    assert not Cleaner("hi-Latn").is_english(ENGLISH)


def test_either_cleaning_can_be_turned_off() -> None:
    pages = documents(GERMAN, GERMAN, f"{GERMAN} mehr\n{ENGLISH}")
    keeps_english, keeps_repeated = (
        Cleaner("de", keep_english=True), Cleaner("de", keep_repeated=True)
    )  # fmt: skip
    assert list(keeps_english.clean(pages)) == [pages[0], pages[2]]
    assert [page.text for page in keeps_repeated.clean(pages)][:2] == [GERMAN, GERMAN]
    assert "1 of 3 documents as repeated (--keep-repeated" in keeps_english.counts.words
    assert "1 lines as English, all there was of 0" in keeps_repeated.counts.words
    assert CleaningCounts(5).words == ""
