//! The few words of other programs that decide something: halves of the day, and what stands for a file.
//!
//! Compared without case, dots and spaces, since locales differ in these from one version to the next. Where a word is
//! not known here nothing is lost: a half of the day is named in an error, a stand-in for a file stays a text.

/// A half of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    /// Midnight to noon.
    Morning,
    /// Noon to midnight.
    Evening,
}

const MORNING: &[&str] = &[
    "am",
    "vm",
    "fm",
    "de",
    "sa",
    "pd",
    "\u{f6}\u{f6}",
    "\u{3c0}\u{3bc}",
    "\u{635}",
    "\u{642}\u{638}",
    "ap",
    "\u{5dc}\u{5e4}\u{5e0}\u{5d4}\u{5f4}\u{5e6}",
    "\u{5dc}\u{5e4}\u{5e0}\u{5d4}\"\u{5e6}",
    "\u{92a}\u{942}\u{930}\u{94d}\u{935}\u{93e}\u{939}\u{94d}\u{928}",
    "\u{92e}\u{92a}\u{942}",
    "\u{9aa}\u{9c2}\u{9b0}\u{9cd}\u{9ac}\u{9be}\u{9b9}\u{9cd}\u{9a3}",
    "\u{e01}\u{e48}\u{e2d}\u{e19}\u{e40}\u{e17}\u{e35}\u{e48}\u{e22}\u{e07}",
    "\u{434}\u{43f}",
    "\u{43f}\u{440}\u{43e}\u{431}",
    "pre podne",
    "dop",
    "prijepodne",
    "priek\u{161}p",
    "priespiet",
    "pg",
    "paradite",
    "siang",
];
const EVENING: &[&str] = &[
    "pm",
    "nm",
    "em",
    "du",
    "ch",
    "md",
    "\u{f6}s",
    "\u{3bc}\u{3bc}",
    "\u{645}",
    "\u{628}\u{638}",
    "ip",
    "\u{5d0}\u{5d7}\u{5d4}\u{5f4}\u{5e6}",
    "\u{5d0}\u{5d7}\u{5d4}\"\u{5e6}",
    "\u{905}\u{92a}\u{930}\u{93e}\u{939}\u{94d}\u{928}",
    "\u{92e}\u{909}",
    "\u{985}\u{9aa}\u{9b0}\u{9be}\u{9b9}\u{9cd}\u{9a3}",
    "\u{e2b}\u{e25}\u{e31}\u{e07}\u{e40}\u{e17}\u{e35}\u{e48}\u{e22}\u{e07}",
    "\u{43f}\u{43f}",
    "po podne",
    "odp",
    "poslijepodne",
    "p\u{113}cp",
    "popiet",
    "ptg",
    "mbasdite",
    "malam",
];
/// These stand before the time, often with nothing between.
const MORNING_BEFORE: &[&str] = &[
    "\u{c624}\u{c804}",
    "\u{4e0a}\u{5348}",
    "\u{5348}\u{524d}",
    "\u{51cc}\u{6668}",
    "\u{65e9}\u{4e0a}",
    "\u{6e05}\u{6668}",
    "am",
];
const EVENING_BEFORE: &[&str] = &[
    "\u{c624}\u{d6c4}",
    "\u{4e0b}\u{5348}",
    "\u{5348}\u{5f8c}",
    "\u{4e2d}\u{5348}",
    "\u{665a}\u{4e0a}",
    "\u{508d}\u{665a}",
    "pm",
];

/// The half of the day that a word behind the time names.
pub(super) fn half(word: &str) -> Option<Half> {
    let word = plain(word);
    let names = |words: &[&str]| words.iter().any(|known| plain(known) == word);
    if names(MORNING) || names(MORNING_BEFORE) {
        Some(Half::Morning)
    } else if names(EVENING) || names(EVENING_BEFORE) {
        Some(Half::Evening)
    } else {
        None
    }
}

/// The half of the day named at the end of what stands between date and time, and what is left without it.
pub(super) fn half_before(between: &str) -> (Option<Half>, &str) {
    let between = between.trim_end();
    for (words, half) in [(MORNING_BEFORE, Half::Morning), (EVENING_BEFORE, Half::Evening)] {
        for word in words {
            if let Some(rest) = between.strip_suffix(word)
                && !(word.is_ascii() && rest.ends_with(char::is_alphanumeric))
            {
                return (Some(half), rest);
            }
        }
    }
    (None, between)
}

fn plain(word: &str) -> String {
    word.chars().filter(|c| !c.is_whitespace() && *c != '.').flat_map(char::to_lowercase).collect()
}

/// What stands in place of files that were left out, in brackets.
const OMITTED: &[&str] = &[
    "Media omitted",
    "Medien ausgeschlossen",
    "Medien weggelassen",
    "Multimedia omitido",
    "Archivo omitido",
    "M\u{e9}dias omis",
    "Fichier omis",
    "M\u{ed}dia oculta",
    "M\u{ed}dia omitida",
    "Arquivo de m\u{ed}dia oculto",
    "Ficheiro n\u{e3}o revelado",
    "Media omessi",
    "Media weggelaten",
    "Medya dahil edilmedi",
    "Medya atlanm\u{131}\u{15f}",
    "Media udeladt",
    "Medier udeladt",
    "Media utelatt",
    "Media utelatt",
    "Media har utel\u{e4}mnats",
    "Mediatiedosto j\u{e4}tetty pois",
    "Multimedia omitted",
    "pomini\u{119}to multimedia",
    "plik pomini\u{119}ty",
    "M\u{e9}dia vynech\u{e1}no",
    "Hi\u{e1}nyz\u{f3} m\u{e9}dia",
    "Media dihilangkan",
    "Media tidak disertakan",
    "Fi\u{219}ier media omis",
    "\u{411}\u{435}\u{437} \u{43c}\u{435}\u{434}\u{438}\u{430}\u{444}\u{430}\u{439}\u{43b}\u{43e}\u{432}",
    "\u{424}\u{430}\u{439}\u{43b} \u{43f}\u{440}\u{43e}\u{43f}\u{443}\u{449}\u{435}\u{43d}",
    "\u{41c}\u{435}\u{434}\u{456}\u{430} \u{43f}\u{440}\u{43e}\u{43f}\u{443}\u{449}\u{435}\u{43d}\u{43e}",
    "\u{30e1}\u{30c7}\u{30a3}\u{30a2}\u{306f}\u{542b}\u{307e}\u{308c}\u{3066}\u{3044}\u{307e}\u{305b}\u{3093}",
    "\u{30e1}\u{30c7}\u{30a3}\u{30a2}\u{306a}\u{3057}",
    "\u{7701}\u{7565}\u{591a}\u{5a92}\u{4f53}\u{6587}\u{4ef6}",
    "\u{7565}\u{53bb}\u{591a}\u{5a92}\u{9ad4}\u{6a94}",
    "\u{bbf8}\u{b514}\u{c5b4} \u{d30c}\u{c77c}\u{c744} \u{c81c}\u{c678}\u{d55c} \u{b0b4}\u{c6a9}",
    "\u{62a}\u{645} \u{627}\u{633}\u{62a}\u{628}\u{639}\u{627}\u{62f} \u{627}\u{644}\u{648}\u{633}\u{627}\u{626}\u{637}",
    "\u{5d4}\u{5de}\u{5d3}\u{5d9}\u{5d4} \u{5d4}\u{5d5}\u{5e9}\u{5de}\u{5d8}\u{5d4}",
    "\u{92e}\u{940}\u{921}\u{93f}\u{92f}\u{93e} \u{928}\u{939}\u{940}\u{902}",
];
/// "Left out", as it follows or precedes the kind of file where a mark of direction stands before it.
const LEFT_OUT: &[&str] = &[
    "omitted",
    "weggelassen",
    "ausgeschlossen",
    "omitido",
    "omitida",
    "omise",
    "omis",
    "omesso",
    "omessa",
    "omesse",
    "weggelaten",
    "ocultado",
    "ocultada",
    "ocultos",
    "oculto",
    "dahil edilmedi",
    "\u{43f}\u{440}\u{43e}\u{43f}\u{443}\u{449}\u{435}\u{43d}\u{43e}",
    "udeladt",
    "utel\u{e4}mnad",
    "utelatt",
    "pomini\u{119}to",
    "vynech\u{e1}n",
    "kihagyva",
];
/// "File attached", in round brackets behind its name.
const ATTACHED: &[&str] = &[
    "file attached",
    "Datei angeh\u{e4}ngt",
    "archivo adjunto",
    "fichier joint",
    "fichier attach\u{e9}",
    "arquivo anexado",
    "ficheiro anexado",
    "file allegato",
    "bestand bijgevoegd",
    "dosya ekli",
    "\u{444}\u{430}\u{439}\u{43b} \u{434}\u{43e}\u{431}\u{430}\u{432}\u{43b}\u{435}\u{43d}",
    "\u{43f}\u{440}\u{438}\u{43a}\u{440}\u{435}\u{43f}\u{43b}\u{451}\u{43d}\u{43d}\u{44b}\u{439} \u{444}\u{430}\u{439}\u{43b}",
    "fil vedh\u{e6}ftet",
    "bifogad fil",
    "fil vedlagt",
    "tiedosto liitetty",
    "za\u{142}\u{105}czono plik",
    "plik za\u{142}\u{105}czony",
    "soubor p\u{159}ilo\u{17e}en",
    "csatolt f\u{e1}jl",
    "file terlampir",
    "\u{6dfb}\u{4ed8}\u{30d5}\u{30a1}\u{30a4}\u{30eb}",
    "\u{30d5}\u{30a1}\u{30a4}\u{30eb}\u{6dfb}\u{4ed8}",
    "\u{6587}\u{4ef6}\u{9644}\u{4ef6}",
    "\u{9644}\u{4ef6}",
    "\u{6a94}\u{6848}\u{5df2}\u{9644}\u{52a0}",
    "\u{d30c}\u{c77c} \u{cca8}\u{bd80}\u{b428}",
    "\u{627}\u{644}\u{645}\u{644}\u{641} \u{645}\u{631}\u{641}\u{642}",
    "\u{5d4}\u{5e7}\u{5d5}\u{5d1}\u{5e5} \u{5e6}\u{5d5}\u{5e8}\u{5e3}",
];

/// Whether a message says that its file was left out of the export. `marked`: a mark of direction stood before it, as
/// before everything that the other program says itself.
pub(super) fn is_left_out(text: &str, marked: bool) -> bool {
    let text = text.trim();
    if text.len() > 120 || text.contains('\n') {
        return false;
    }
    let inner = text.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
    if let Some(inner) = inner {
        return OMITTED.iter().any(|known| plain(known) == plain(inner));
    }
    let lower = text.to_lowercase();
    marked && LEFT_OUT.iter().any(|word| lower.ends_with(word) || lower.starts_with(word))
}

/// Whether this is what stands behind the name of a file.
pub(super) fn is_attached(text: &str) -> bool {
    ATTACHED.iter().any(|known| plain(known) == plain(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_known_in_their_spellings() {
        for word in ["AM", "a.m.", "a. m.", "a.\u{a0}m.", "am", "\u{d6}\u{d6}", "\u{3c0}.\u{3bc}.", "SA"] {
            assert_eq!(half(word), Some(Half::Morning), "{word}");
        }
        for word in ["PM", "p.\u{202f}m.", "\u{d6}S", "\u{3bc}.\u{3bc}.", "CH", "\u{645}"] {
            assert_eq!(half(word), Some(Half::Evening), "{word}");
        }
        assert_eq!((half(""), half("o'clock")), (None, None));
        assert_eq!(half_before(" \u{4e0b}\u{5348}"), (Some(Half::Evening), " "));
        assert_eq!(half_before(", "), (None, ","));
        assert_eq!(half_before(" Siam"), (None, " Siam"));
    }

    #[test]
    fn stand_ins_are_known() {
        assert!(is_left_out("<Media omitted>", false) && is_left_out("<Medien ausgeschlossen>", false));
        assert!(is_left_out("image omitted", true) && !is_left_out("image omitted", false));
        assert!(!is_left_out("<3>", false) && !is_left_out("a\nimage omitted", true));
        assert!(is_attached("file attached") && is_attached("Datei angeh\u{e4}ngt") && !is_attached("see below"));
    }
}
