package compare

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// alike is what is left of a text without what people do not see, or do not mean: case, spaces, marks of
// byte order and other characters without a form, and the forms of Unicode in which one letter can be
// written (NFKC).
func alike(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.In(r, unicode.Cf, unicode.Cc) {
			return -1
		}
		return unicode.ToLower(r)
	}, norm.NFKC.String(s))
}

// lookAlike returns the first two, one of each list, that differ only in what alike leaves out, in
// characters that show how; empty where there are none.
func lookAlike(a, b []string) (text string) {
	seen := make(map[string]string, len(a))
	for _, s := range a {
		key := alike(s)
		if _, twice := seen[key]; !twice && key != "" {
			seen[key] = s
		}
	}
	for _, s := range b {
		if other, ok := seen[alike(s)]; ok && other != s {
			return fmt.Sprintf("%s and %s differ only in case, spaces, characters that are not seen, or the form of Unicode", escaped(other), escaped(s))
		}
	}
	return ""
}

// escaped is a text in quotes, with escapes for all that is not ASCII.
func escaped(s string) string { return strconv.QuoteToASCII(cut(s, 40)) }
