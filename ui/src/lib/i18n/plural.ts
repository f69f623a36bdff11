// Forms of words that depend on a number. Not here: the words.

/** A function that picks the form for a number in a language and puts the number, as written there, in place of `#`. */
export function counted(locale: string): (count: number, one: string, other: string) => string {
  const rules = new Intl.PluralRules(locale);
  const numbers = new Intl.NumberFormat(locale);
  return (count, one, other) => (rules.select(count) === "one" ? one : other).replace("#", numbers.format(count));
}
