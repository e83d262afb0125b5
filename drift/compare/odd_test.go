package compare_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/compare"
	"github.com/millrace/millrace/drift/dataset"
)

// textFile opens a file of a text.
func textFile(t *testing.T, name, text string) dataset.Source {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	s, err := dataset.Open(t.Context(), path, dataset.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// csv writes n lines below a header.
func csv(header string, n int, line func(i int) string) string {
	var b strings.Builder
	b.WriteString(header)
	for i := range n {
		b.WriteString("\n" + line(i))
	}
	return b.String()
}

// TestExactCategories: numbers that 64-bit floats round are as many categories as there are, in
// whatever form they come, and all of what is a category is told apart by segments too.
func TestExactCategories(t *testing.T) {
	for name, base := range map[string]string{"beside a fraction": "900719925474099", "beyond 64 bits": "12345678901234567890123", "in floats": "900719925474099"} {
		t.Run(name, func(t *testing.T) {
			of := func(file string, often int) dataset.Source {
				return textFile(t, file, csv("id,g", 200, func(i int) string {
					if i == 0 && name != "beyond 64 bits" {
						return "0.5,a"
					}
					k := i % 3
					if i%often != 0 {
						k = 1
					}
					point := ""
					if name == "in floats" {
						point = ".0"
					}
					return fmt.Sprintf("%s%d%s,%c", base, 2+k, point, 'a'+i%2)
				}))
			}
			for _, o := range []compare.Options{{}, {Categorical: []string{"id"}}, {Segment: "g"}} {
				a := of("a.csv", 1)
				r := run(t, a, of("b.csv", 5), o)
				c := column(t, r, "id")
				require.True(t, c.Drifted, "%+v", c.Bins)
				require.Contains(t, c.Bins.Categories, base+"3")
				require.GreaterOrEqual(t, len(c.Bins.Categories), 3)
				require.False(t, column(t, run(t, a, of("c.csv", 1), o), "id").Drifted)
				for _, s := range r.Segments {
					require.Equal(t, c.Type, s.Columns[0].Type)
				}
			}
		})
	}
}

// TestRoundedNumbersAreNoted: where a side has only floats, the other side's integers are compared as
// such, which is said.
func TestRoundedNumbersAreNoted(t *testing.T) {
	ids := make([]int64, 100)
	floats := make([]float64, 100)
	for i := range ids {
		ids[i] = 1<<53 + int64(i%4)
		floats[i] = float64(ids[i])
	}
	r := run(t, newTable(t, "a", namedColumn{"x", ids}), newTable(t, "b", namedColumn{"x", floats}), compare.Options{})
	require.False(t, r.Dataset.Drifted)
	require.Equal(t, []string{`column "x" has numbers of more digits than a 64-bit float holds (integers beyond 2^53) on one side, and 64-bit floats on the other: neighbours are compared as one number`}, r.Notes)
}

// TestUnreadColumnsMayDecide: the verdict is not ok where what could not be read might have drifted, and
// the headline names it; what is left out by rule decides nothing.
func TestUnreadColumnsMayDecide(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.csv")
	require.NoError(t, os.WriteFile(path, []byte(csv("amount;x;y;id;at", 200, func(i int) string {
		return fmt.Sprintf("%d,5;%d;%d;user-%d;2024-01-01", i, i%30, i%29, i)
	})), 0o600))
	a, err := dataset.Open(t.Context(), path, dataset.Options{Delimiter: ';'})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	r := run(t, a, a, compare.Options{Ignore: []string{"y"}})
	require.Equal(t, compare.VerdictNotJudged, r.Dataset.Verdict)
	require.ElementsMatch(t, []compare.LeftOut{{Column: "amount", Reason: compare.LeftNumbers}, {Column: "id", Reason: compare.LeftIdentifier}, {Column: "at", Reason: compare.LeftTimes}}, r.LeftOut)
	var out strings.Builder
	require.NoError(t, compare.WriteTable(&out, r, false, 0))
	require.Contains(t, out.String(), "NOT JUDGED: 0 of 1 judged column drifted; the data set drifts from a share of 50 %. 1 column could not be compared as it is (amount), which might decide: see the notes. Left out: at (times); id (identifiers).")
	r = run(t, a, a, compare.Options{})
	require.Equal(t, compare.VerdictOK, r.Dataset.Verdict, "one of three is below the share")
	out.Reset()
	require.NoError(t, compare.WriteTable(&out, r, false, 0))
	require.Contains(t, out.String(), "1 column could not be compared as it is (amount): see the notes.")
	for _, rule := range []string{compare.RuleRate, compare.RuleEvidently} {
		require.Equal(t, compare.VerdictNotJudged, run(t, a, a, compare.Options{Rule: rule, Ignore: []string{"y"}}).Dataset.Verdict)
	}
}

// TestIndexIsLeftOut: an index that a CSV has decides nothing, unless it is named.
func TestIndexIsLeftOut(t *testing.T) {
	a := textFile(t, "a.csv", csv(",x", 200, func(i int) string { return fmt.Sprintf("%d,%d", i, i%40) }))
	b := textFile(t, "b.csv", csv(",x", 200, func(i int) string { return fmt.Sprintf("%d,%d", 1000+i, i%40) }))
	r := run(t, a, b, compare.Options{})
	require.False(t, r.Dataset.Drifted)
	require.Len(t, r.Columns, 1)
	require.Len(t, r.Notes, 2)
	require.Contains(t, r.Notes[0], `column "Unnamed: 0" of `+a.Name()+` is left out: it is the index that pandas or R wrote`)
	require.Empty(t, r.LeftOut)
	r = run(t, a, b, compare.Options{Columns: []string{"Unnamed: 0", "x"}})
	require.True(t, column(t, r, "Unnamed: 0").Drifted)
	r = run(t, a, textFile(t, "c.csv", csv("x", 200, func(i int) string { return strconv.Itoa(i % 40) })), compare.Options{})
	require.Len(t, r.Notes, 1, "no word of a column that only one side has")
}

// TestTextByDeclaration: text that a file declares is not read as numbers, but a number is the same
// text in whichever form it is written.
func TestTextByDeclaration(t *testing.T) {
	n := 120
	for name, tc := range map[string]struct {
		text, number func(i int) string
		drifted      bool
	}{
		"zeros":    {func(i int) string { return []string{"0870", "870"}[i%2] }, func(int) string { return "870" }, true},
		"integers": {func(i int) string { return strconv.Itoa(870 + i%3) }, func(i int) string { return strconv.Itoa(870 + i%3) }, false},
		"missing":  {func(i int) string { return strconv.Itoa(870 + i%3) }, func(i int) string { return fmt.Sprintf("%d.0", 870+i%3) }, false},
		"prices":   {func(i int) string { return fmt.Sprintf("1.%d0", i%5) }, func(i int) string { return fmt.Sprintf("1.%d", i%5) }, false},
		"large":    {func(i int) string { return strconv.Itoa(9007199254740992 + i%3) }, func(i int) string { return strconv.Itoa(9007199254740992 + i%3) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			text := textFile(t, "a.jsonl", csv("", n, func(i int) string { return fmt.Sprintf("{\"x\":%q}", tc.text(i)) }))
			number := textFile(t, "b.csv", csv("x", n, tc.number))
			for _, sides := range [][2]dataset.Source{{text, number}, {number, text}} {
				r := run(t, sides[0], sides[1], compare.Options{})
				c := column(t, r, "x")
				require.Equal(t, tc.drifted, c.Drifted, "%+v", c.Bins)
				require.Equal(t, compare.TypeCategorical, c.Type)
				require.Contains(t, strings.Join(r.Notes, "\n"), "compared as text, in which 0870 is not 870; --numeric x compares numbers")
				r = run(t, sides[0], sides[1], compare.Options{Numeric: []string{"x"}})
				require.False(t, column(t, r, "x").Drifted)
			}
		})
	}
}
