from __future__ import annotations

import pytest

from mwanda.text.cleaning import Cleaner, CleaningCounts, clean, english_lines
from mwanda.text.sources import Document

ENGLISH = "You can change the settings of your computer from the menu that is shown here."
GERMAN = "Sie können die Einstellungen Ihres Rechners im Menü ändern, das hier gezeigt wird."


def documents(*texts: str) -> list[Document]:
    return [Document(text, number) for number, text in enumerate(texts)]


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
    line = "Open the Settings application, choose Network"
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
