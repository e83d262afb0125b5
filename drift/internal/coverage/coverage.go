// Package coverage measures by simulation how often intervals hold the true figure.
package coverage

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// Confidence is that of all simulated intervals. A shown one has to hold the true figure in
// 93 to 97 % of draws.
const (
	Confidence = 0.95
	Least      = 0.93
	Most       = 0.97
)

// Draw is what came of one simulated sample.
type Draw struct {
	Shown     bool // there was an interval
	Holds     bool // which holds the true figure
	Reference bool // the reference's interval holds it
}

// Cell is a figure of samples of one kind and size.
type Cell struct {
	Interval string // of what
	Sample   string // its kind and size
	Short    bool   // simulated in each run of the tests, not only in the long form

	// Slow is by how much fewer draws are made, since each takes long; 0 stands for 1.
	Slow int

	// Above is how far coverage may be above Most: where outcomes are few and whole, no
	// interval holds 95 % of the time.
	Above float64

	// Known says why the interval covers less, where that cannot be mended: it is measured and
	// not judged.
	Known string

	Draw func(*rand.Rand) (Draw, error)
}

// Result is a cell's simulation.
type Result struct {
	Shown     float64 // the share of draws with an interval
	Coverage  float64 // of those; NaN of none
	Reference float64 // the share of draws that the reference's interval holds
	Draws     int
}

const (
	seed  = 20261130
	short = 400 // draws of a cell
)

// Simulate draws n samples of a cell.
func Simulate(c Cell, n int) (Result, error) {
	name := fnv.New64a()
	fmt.Fprint(name, c.Interval, c.Sample)
	rng := rand.New(rand.NewPCG(seed, name.Sum64())) //nolint:gosec // a simulation has to be repeatable
	var shown, holds, reference int
	for range n {
		d, err := c.Draw(rng)
		if err != nil {
			return Result{}, fmt.Errorf("%s of %s: %w", c.Interval, c.Sample, err)
		}
		if d.Shown {
			shown++
			if d.Holds {
				holds++
			}
		}
		if d.Reference {
			reference++
		}
	}
	of := float64(n)
	return Result{float64(shown) / of, float64(holds) / float64(shown), float64(reference) / of, n}, nil
}

// Run simulates cells and requires of each that few intervals are wrong, and where half of
// the samples or more have one, that it covers as it says; within 4 standard errors of the
// simulation.
//
// MILLRACE_COVERAGE is a number of draws: then all cells are simulated so often and the results
// are added to the file that MILLRACE_COVERAGE_FILE names, for the report (make bench-coverage).
func Run(t *testing.T, cells []Cell) {
	t.Helper()
	draws, long := short, false
	if text := os.Getenv("MILLRACE_COVERAGE"); text != "" {
		n, err := strconv.Atoi(text)
		require.NoError(t, err, "MILLRACE_COVERAGE")
		draws, long = n, true
	}
	for _, c := range cells {
		if !c.Short && !long {
			continue
		}
		t.Run(c.Interval+" of "+c.Sample, func(t *testing.T) {
			draws := draws / max(c.Slow, 1)
			r, err := Simulate(c, draws)
			require.NoError(t, err)
			if long {
				require.NoError(t, record(c, r))
			}
			t.Logf("seed %d: shown %.3f, coverage %.3f, reference %.3f", seed, r.Shown, r.Coverage, r.Reference)
			if c.Known != "" {
				return
			}
			within := func(n float64) float64 { return 4 * math.Sqrt(Confidence*(1-Confidence)/n) }
			if r.Shown > 0 {
				require.LessOrEqual(t, r.Shown*(1-r.Coverage), 1-Least+within(float64(draws)), "intervals are wrong too often")
			}
			if r.Shown >= 0.5 {
				slack := within(r.Shown * float64(draws))
				require.GreaterOrEqual(t, r.Coverage, Least-slack)
				require.LessOrEqual(t, r.Coverage, Most+c.Above+slack)
			}
		})
	}
}

// record adds a line to the file of results.
func record(c Cell, r Result) error {
	path := os.Getenv("MILLRACE_COVERAGE_FILE")
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) //nolint:gosec // the caller names the file
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s\t%s\t%v\t%v\t%v\t%v\t%s\n", c.Interval, c.Sample, r.Shown, r.Coverage, r.Reference, c.Above, c.Known)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}
