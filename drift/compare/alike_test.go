package compare_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/compare"
)

// Names and categories that look alike are shown with what they differ in.
func TestNamesAndCategoriesThatLookAlike(t *testing.T) {
	words := func(word string) []string {
		out := make([]string, 100)
		for i := range out {
			out[i] = []string{word, "Bern"}[i%2]
		}
		return out
	}
	for _, tc := range []struct{ a, b, shown string }{
		{"Z\u00fcrich", "Zu\u0308rich", `"Z\u00fcrich" and "Zu\u0308rich" differ only in case`},
		{"red", "red ", `"red" and "red " differ only in case, spaces`},
		{"red", "RED", `"red" and "RED" differ only`},
		{"id", "\ufeffid", `"id" and "\ufeffid" differ only`},
		{"New York", "New\u00a0York", `"New York" and "New\u00a0York" differ only`},
	} {
		x := normal(1, 100, 0, 1)
		a := newTable(t, "a", namedColumn{"x", x}, namedColumn{tc.a, x}, namedColumn{"word", words(tc.a)})
		b := newTable(t, "b", namedColumn{"x", x}, namedColumn{tc.b, x}, namedColumn{"word", words(tc.b)})
		r := run(t, a, b, compare.Options{})
		text := table(t, r, false, 0)
		require.Contains(t, text, "- "+tc.shown, "of the names")
		require.Contains(t, text, "; "+tc.shown, "of the categories")
		_, err := compare.Compare(t.Context(), newTable(t, "a", namedColumn{tc.a, x}), newTable(t, "b", namedColumn{tc.b, x}), compare.Options{})
		require.ErrorContains(t, err, tc.shown)
	}
	r := run(t, newTable(t, "a", namedColumn{"word", words("red")}), newTable(t, "b", namedColumn{"word", words("blue")}), compare.Options{})
	require.NotContains(t, table(t, r, false, 0), "differ only")
}

// Infinite values are no part of a verdict, and the headline says so.
func TestInfiniteValuesStandInTheHeadline(t *testing.T) {
	x, y := normal(1, 200, 0, 1), normal(2, 200, 0, 1)
	for i := range 40 {
		y[5*i] = math.Inf(1)
	}
	r := run(t, newTable(t, "a", namedColumn{"x", x}), newTable(t, "b", namedColumn{"x", y}), compare.Options{})
	require.Contains(t, table(t, r, false, 0), "Not part of this verdict: infinite values of x 0 % → 20 %.")
}

// What only Go's literals may have makes no number of a text: 1_2 is not 12.
func TestNumbersOfGoAreTexts(t *testing.T) {
	ids, texts := make([]float64, 100), make([]string, 100)
	for _, format := range []string{"1_%02d", "0x1p%02d"} {
		for i := range ids {
			ids[i], texts[i] = float64(100+i), fmt.Sprintf(format, i)
		}
		_, err := compare.Compare(t.Context(), newTable(t, "a", namedColumn{"id", ids}), newTable(t, "b", namedColumn{"id", texts}), compare.Options{})
		require.ErrorContains(t, err, `not compared: column "id" holds numbers in a and text such as "`+texts[0])
	}
}
