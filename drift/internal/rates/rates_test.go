package main

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestKinds: categories come by Zipf's law, half of the zero-inflated values are 0, and a
// shift moves what it says.
func TestKinds(t *testing.T) {
	k := zipf(10)
	counts := make([]int, 10)
	c := cell{kind: k, reference: 100_000, current: 100_000, columns: 1, shift: shift{moved: 0.2}}
	reference, current := c.tables(1, 0)
	share := func(side *table, name string) float64 {
		n := 0
		column := side.record.Column(0)
		for i := range column.Len() {
			if column.ValueStr(i) == name {
				n++
			}
		}
		return float64(n) / float64(column.Len())
	}
	sum := 0.0
	for i := range counts {
		sum += 1 / float64(i+1)
	}
	require.InDelta(t, 1/sum, share(reference, "c0"), 0.006)
	require.InDelta(t, 0.1/sum, share(reference, "c9"), 0.006)
	require.InDelta(t, 0.8*0.5/sum+0.2, share(current, "c1"), 0.006)

	c = cell{kind: some("zero-inflated")[0], reference: 100_000, current: 1, columns: 1}
	reference, _ = c.tables(1, 0)
	require.InDelta(t, 0.5, share(reference, "0"), 0.006)
}

// TestSameFigures: the figures depend on the seed alone, not on how many comparisons run at a
// time nor on which other methods are measured.
func TestSameFigures(t *testing.T) {
	c := cell{kind: some("ties")[0], reference: 200, current: 100, columns: 3, correlated: true, runs: 20}
	methods := byTest(cell{kind: c.kind, reference: 1000})[:4]
	outcomes := func(methods []method, workers int) []outcome {
		found, err := measure(t.Context(), 7, c, methods, workers)
		require.NoError(t, err)
		out := make([]outcome, len(found))
		for i := range found {
			out[i] = found[i].outcome
		}
		return out
	}
	one := outcomes(methods, 1)
	require.Equal(t, one, outcomes(methods, 3))
	require.Equal(t, one[2:3], outcomes(methods[2:3], 2))
	other, err := compareRuns(t.Context(), 8, c, methods, 0, c.runs, 2)
	require.NoError(t, err)
	require.NotEqual(t, one, other)
}

// TestOver: a share is over its rate from more than three standard errors of the rate on.
func TestOver(t *testing.T) {
	limit := 0.05 + 3*math.Sqrt(0.05*0.95/400) // 33.1 of 400
	require.False(t, share{seen: 33, of: 400}.over(0.05, 3), limit)
	require.True(t, share{seen: 34, of: 400}.over(0.05, 3), limit)
	require.False(t, share{}.over(0.05, 3))
	m := measured{method: method{rate: 0.05}, outcome: outcome{any: share{34, 400}}}
	require.True(t, m.failed())
	m.cell.shift.location = 1 // drift that was found
	require.False(t, m.failed())
}

// TestReport: the last line is the summary, with the worst cell of each method; cells that
// fail are listed.
func TestReport(t *testing.T) {
	c := cell{kind: kinds()[0], reference: 100, current: 30, columns: 1}
	quiet, loud := outcome{any: share{1, 100}, judged: share{100, 100}}, outcome{any: share{60, 100}, dataset: share{61, 100}, judged: share{100, 100}}
	ks := method{name: "ks", rate: 0.05}
	r := report{parts: map[string][]measured{
		partDefault: {{cell: c, method: byDefault(), outcome: quiet}},
		partTests:   {{cell: c, method: ks, outcome: loud}, {cell: c, method: ks, outcome: quiet}},
	}, beside: []measured{{cell: c, method: method{name: byEvidently, beside: true}, outcome: loud}}}
	var out bytes.Buffer
	require.NoError(t, r.write(&out))
	require.Contains(t, out.String(), "| normal | 1 · 61 · – |")
	require.Contains(t, out.String(), "| `ks` | 5 | 2 | 100 | **61** | normal, 100/30 | 1 |")
	require.Contains(t, out.String(), "Cells over the stated rate by more than three standard errors: 1 of 3.\n- ks, normal, 100/30: 61 % of 100, stated 5 %\n")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var s summary
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &s))
	require.Equal(t, map[string]float64{"default": 0.01, "ks": 0.61}, s.WorstFalseAlarm)
	require.Equal(t, 3, s.Cells)
	require.InDelta(t, 0.61, *s.EvidentlyWorst, 1e-12)
	require.Nil(t, s.NannyMLWorst)
}

// TestRatesHold is make bench-rates in short: no cell is over the rate that it states; and that
// the measurement finds one that is, Evidently's rule shows.
func TestRatesHold(t *testing.T) {
	loud := 0.0
	for _, p := range grid(tiny) {
		for _, c := range p.cells {
			found, err := p.measure(t.Context(), 1, c, 2)
			require.NoError(t, err)
			for _, m := range found {
				require.False(t, m.failed(), "%s, %s: %g of %d", m.method.name, c, m.outcome.alarm().seen, m.outcome.alarm().of)
				if m.method.name == "rule evidently" {
					loud = max(loud, m.outcome.alarm().value())
				}
				if p.name == partPower {
					require.Greater(t, m.outcome.any.value(), 0.9, m.method.name)
				}
			}
		}
	}
	require.Greater(t, loud, 0.9)
}
