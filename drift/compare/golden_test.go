package compare_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/compare"
	goldens "github.com/millrace/millrace/drift/internal/golden" // render_test.go has a golden
)

type goldenTable struct {
	Name    string `json:"name"`
	Columns []struct {
		Name      string       `json:"name"`
		Kind      string       `json:"kind"`
		Reference goldens.Spec `json:"reference"`
		Current   goldens.Spec `json:"current"`
	} `json:"columns"`
	Method    string   `json:"method"`
	NumMethod string   `json:"num_method"`
	CatMethod string   `json:"cat_method"`
	Threshold *float64 `json:"threshold"`
	Share     float64  `json:"share"`
	Drifted   bool     `json:"drifted"`
	Count     float64  `json:"count"`
	Want      map[string]struct {
		Stattest    string         `json:"stattest"`
		Threshold   float64        `json:"threshold"`
		Score       goldens.Float  `json:"score"`
		Drifted     bool           `json:"drifted"`
		Homogeneity *goldens.Float `json:"homogeneity"`
		Tail        *goldens.Float `json:"tail"` // of z, whose p Evidently finds as 2·(1-Φ(z))
	} `json:"want"`
}

func goldenColumn(kind string, s goldens.Spec) any {
	values := s.Generate()
	switch kind {
	case "int":
		out := make([]int64, len(values))
		for i, v := range values {
			out[i] = int64(v)
		}
		return out
	case "bool":
		out := make([]bool, len(values))
		for i, v := range values {
			out[i] = v > 0
		}
		return out
	case "cat":
		out := make([]string, len(values))
		for i, v := range values {
			if out[i] = "\x00"; !math.IsNaN(v) {
				out[i] = fmt.Sprintf("k%d", int(v))
			}
		}
		return out
	default:
		return values
	}
}

// TestGoldenEvidently compares whole comparisons with Evidently's: of each column the test,
// the threshold, the score and the verdict, and the data set's share and verdict. We differ
// where it is known: chisquare is the test of homogeneity, as the reference is a sample, too.
func TestGoldenEvidently(t *testing.T) {
	for _, tc := range goldens.Load[goldenTable](t, "testdata/golden_compare.json") {
		t.Run(tc.Name, func(t *testing.T) {
			var a, b []namedColumn
			for _, c := range tc.Columns {
				a = append(a, namedColumn{c.Name, goldenColumn(c.Kind, c.Reference)})
				b = append(b, namedColumn{c.Name, goldenColumn(c.Kind, c.Current)})
			}
			o := compare.Options{Rule: compare.RuleEvidently, Bins: "evidently"}
			for prefix, method := range map[string]string{"": tc.Method, "num=": tc.NumMethod, "cat=": tc.CatMethod} {
				if method != "" {
					o.Tests = append(o.Tests, prefix+method)
				}
			}
			if tc.Threshold != nil {
				o.Thresholds = []string{fmt.Sprint(*tc.Threshold)}
			}
			r := run(t, newTable(t, "a", a...), newTable(t, "b", b...), o)
			require.Len(t, r.Columns, len(tc.Want), r.Notes)
			differ := 0
			for _, c := range r.Columns {
				want := tc.Want[c.Column]
				require.Equal(t, want.Stattest, c.Stattest, c.Column)
				goldens.Equal(t, "evidently threshold", c.Column, want.Threshold, c.Threshold, 0)
				require.NotNil(t, c.Score, c.Explanation)
				score := *c.Score
				if c.PValue != nil { // Evidently's score is the p-value
					score = *c.PValue
				}
				expected := float64(want.Score)
				if want.Homogeneity != nil {
					expected = float64(*want.Homogeneity)
				}
				if want.Tail != nil {
					expected = float64(*want.Tail)
				}
				goldens.Equal(t, "evidently "+c.Stattest, c.Column, expected, score, 1e-9)
				if want.Homogeneity != nil && want.Drifted != c.Drifted {
					differ++
					continue
				}
				require.Equal(t, want.Drifted, c.Drifted, "%s: %s", c.Column, c.Explanation)
			}
			if differ == 0 {
				goldens.Equal(t, "evidently drift share", tc.Name, tc.Share, r.Dataset.Share, 1e-12)
				require.Equal(t, tc.Drifted, r.Dataset.Drifted)
			}
		})
	}
}
