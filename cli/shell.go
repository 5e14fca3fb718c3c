package cli

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// shellCommand is a command line that a shell reads as these words: what is printed or put
// into a page for people to copy. Names come from other machines and out of strangers'
// bundles, and none of them may become a command of its own.
func shellCommand(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = shellWord(w)
	}
	return strings.Join(quoted, " ")
}

// shellWord is one word for a POSIX shell (POSIX.1-2024, Shell Command Language, 2.2): as it
// is where no shell reads anything into it, else in single quotes. What cannot be seen, or
// would turn the direction of what follows, stands in dollar-single-quotes by the octal
// numbers of its bytes, which terminals and pages show as they are. The page's shellWord,
// in controller/web/page/src/shell_word.ts, writes the same; cli/testdata/shell_words.json
// holds both to it. No word can hold a zero byte: it ends there, as execve(2) has it.
func shellWord(word string) string {
	word, _, _ = strings.Cut(word, "\x00")
	switch {
	case isPlainWord(word):
		return word
	case !strings.ContainsFunc(word, hasNoShape):
		return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	var b strings.Builder
	b.WriteString("$'")
	for len(word) > 0 {
		r, n := utf8.DecodeRuneInString(word)
		switch {
		case r == '\'' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == utf8.RuneError && n == 1 || hasNoShape(r):
			for _, c := range []byte(word[:n]) {
				fmt.Fprintf(&b, `\%03o`, c)
			}
		default:
			b.WriteRune(r)
		}
		word = word[n:]
	}
	b.WriteString("'")
	return b.String()
}

// isPlainWord reports whether every shell reads a word as it is written. A tilde or an equals
// sign in front would be expanded by some.
func isPlainWord(word string) bool {
	return word != "" && !strings.ContainsFunc(word, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_@%+:,./-", r))
	})
}

// hasNoShape reports whether a rune has no shape of its own: controls, marks of direction, what
// separates lines, and what stands for bytes that are no UTF-8.
func hasNoShape(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }
