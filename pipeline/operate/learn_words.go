package operate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/millrace/millrace/schemas"
)

// spell makes text of a column of booleans or whole numbers, where the feature is text: as requests
// are to write it, which must send text too.
func (l *learner) spell(f *schemas.Feature, column int) error {
	if f.Type != schemas.TypeString && f.Type != schemas.TypeCategory {
		return nil
	}
	field := l.t.schema.Field(column)
	switch field.Type.ID() {
	case arrow.BOOL:
		no, yes := booleans(f.Categories)
		l.t.spell(column, func(col arrow.Array) func(int) string {
			is := numberAt(col)
			return func(row int) string {
				if is(row) == 1 {
					return yes
				}
				return no
			}
		})
		l.note("column %q holds booleans, and feature %s is text: they are taken for %q and %q, and requests send that text, not true and false", field.Name, f.Name, yes, no)
	case arrow.INT64, arrow.UINT64:
		l.t.spell(column, integerWord)
		l.note("column %q holds numbers, and feature %s is text: requests send text, as \"7\", not 7", field.Name, f.Name)
	case arrow.FLOAT32, arrow.FLOAT64:
		if s := l.t.summarize(column); s.missing < l.t.rows {
			return fmt.Errorf("it holds numbers, and feature %s is text: say how they are written, by --type %s=int or --type %[2]s=text", f.Name, field.Name)
		}
	default:
	}
	return nil
}

// booleans returns how categories write false and true.
func booleans(categories []string) (no, yes string) {
	for _, spelled := range [][2]string{{"False", "True"}, {"FALSE", "TRUE"}, {"0", "1"}} {
		if slices.Contains(categories, spelled[0]) || slices.Contains(categories, spelled[1]) {
			return spelled[0], spelled[1]
		}
	}
	return "false", "true"
}

// knownWords compares the words of a column with the categories of its feature.
func (l *learner) knownWords(f *schemas.Feature, s *summary) error {
	var unknown []string
	rows := 0
	for i, w := range s.words {
		if !slices.Contains(f.Categories, w) {
			unknown, rows = append(unknown, w), rows+s.rows[i]
		}
	}
	switch {
	case rows == 0:
		return nil
	case len(unknown) == len(s.words):
		return fmt.Errorf("it holds %s, and none of it is a category of feature %s, which has %s", few(quoted(unknown)), f.Name, few(quoted(f.Categories)))
	}
	l.note("%d rows have a value of feature %s that is none of its categories: %s", rows, f.Name, few(quoted(unknown)))
	return nil
}

func quoted(words []string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = strconv.Quote(w)
	}
	return out
}

// mostlyNumbers tells whether half of the words or more are numbers.
func mostlyNumbers(words []string) bool {
	n := 0
	for _, w := range words {
		if isNumber(w) {
			n++
		}
	}
	return n > 0 && 2*n >= len(words)
}

// numbersWithCommas tells whether half of the words or more would be numbers with a point for the
// comma, or without any, and some have one.
func numbersWithCommas(words []string) bool {
	n, with := 0, 0
	for _, w := range words {
		switch {
		case isNumber(w):
			n++
		case strings.Contains(w, ",") && (isNumber(strings.ReplaceAll(w, ",", "")) || isNumber(strings.Replace(w, ",", ".", 1))):
			n, with = n+1, with+1
		}
	}
	return with > 0 && 2*n >= len(words)
}

func isNumber(word string) bool {
	_, err := strconv.ParseFloat(strings.TrimSpace(word), 64)
	return err == nil
}

// strange returns the words that are no numbers as a computer writes them; all, where each is one.
func strange(words []string) []string {
	var out []string
	for _, w := range words {
		if !isNumber(w) {
			out = append(out, strconv.Quote(w))
		}
	}
	if len(out) == 0 {
		return quoted(words)
	}
	return out
}
