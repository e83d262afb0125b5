// Package golden compares figures with those of the reference implementations, and counts
// the comparisons for `make golden-report`.
//
// The golden files lie in testdata/golden_*.json of the packages they test, and are made by
// the scripts in reference (make golden).
package golden

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Float is a number of a golden file, where "nan", "inf" and "-inf" are words.
type Float float64

// UnmarshalJSON implements json.Unmarshaler.
func (f *Float) UnmarshalJSON(b []byte) error {
	if len(b) > 1 && b[0] == '"' {
		b = b[1 : len(b)-1]
	}
	v, err := strconv.ParseFloat(string(b), 64)
	*f = Float(v)
	return err
}

// Floats converts to plain numbers.
func Floats(v []Float) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}

// Spec is a generated input; see reference/inputs.py.
type Spec struct {
	Kind     string  `json:"kind"`
	N        int     `json:"n"`
	Seed     uint64  `json:"seed"`
	Levels   float64 `json:"levels"`
	Value    Float   `json:"value"`
	Values   []Float `json:"values"`
	Scale    *Float  `json:"scale"`
	Shift    Float   `json:"shift"`
	Quantum  float64 `json:"quantum"`
	NaNEvery int     `json:"nan_every"`
}

// uniform is splitmix64 at counter i, from 1.
func uniform(seed uint64, i int) float64 {
	z := seed + 0x9E3779B97F4A7C15*uint64(i)
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
	z = (z ^ (z >> 27)) * 0x94D049BB133111EB
	z ^= z >> 31
	return float64(z>>11) * 0x1p-53
}

// Generate returns the values of the spec, equal to those of inputs.py to the bit: the
// conversions keep the compiler from fusing a product and a sum.
func (s Spec) Generate() []float64 {
	n := s.N
	if s.Kind == "list" {
		n = len(s.Values)
	}
	scale := 1.0
	if s.Scale != nil {
		scale = float64(*s.Scale)
	}
	out := make([]float64, n)
	for i := range out {
		var x float64
		switch s.Kind {
		case "list":
			x = float64(s.Values[i])
		case "uniform":
			x = uniform(s.Seed, i+1)
		case "normal":
			for j := range 12 {
				x += uniform(s.Seed, 12*i+j+1)
			}
			x -= 6
		case "heavy":
			x = 1 / (uniform(s.Seed, i+1) + 0x1p-53)
		case "int":
			x = math.Floor(uniform(s.Seed, i+1) * s.Levels)
		case "const":
			x = float64(s.Value)
		default:
			panic("golden: unknown kind " + s.Kind)
		}
		x = float64(x*scale) + float64(s.Shift)
		if s.Quantum != 0 {
			x = math.Floor(x/s.Quantum) * s.Quantum
		}
		if s.NaNEvery > 0 && (i+1)%s.NaNEvery == 0 {
			x = math.NaN()
		}
		out[i] = x
	}
	return out
}

// Load reads the cases of a golden file.
func Load[T any](t *testing.T, path string) []T {
	t.Helper()
	b, err := os.ReadFile(filepath.Clean(path))
	require.NoError(t, err, "make golden makes it")
	var file struct {
		Cases []T `json:"cases"`
	}
	require.NoError(t, json.Unmarshal(b, &file), path)
	require.NotEmpty(t, file.Cases, path)
	return file.Cases
}

// Read is the function under which numbers that readers find in files are counted: they are
// no statistics, and the report keeps them apart.
const Read = "numbers read from files"

// Equal requires got to be want within a relative error of tolerance (absolute where want
// is below 1e-300 or exactly 0), NaN and infinities to be themselves; what names the case.
// The comparison is counted under function.
func Equal(t *testing.T, function, what string, want, got, tolerance float64) {
	t.Helper()
	e := RelativeError(want, got)
	record(t, function, e)
	if e > tolerance || math.IsNaN(e) {
		t.Errorf("%s: %s: want %v, got %v: relative error %.3g, at most %.3g allowed", function, what, want, got, e, tolerance)
	}
}

// RelativeError returns |got-want|/|want|, the absolute error where want is below 1e-300,
// and +Inf where one is not a number and the other is, or an infinity is not met.
func RelativeError(want, got float64) float64 {
	switch {
	case want == got || math.IsNaN(want) && math.IsNaN(got):
		return 0
	case math.IsNaN(want) || math.IsNaN(got) || math.IsInf(want, 0) || math.IsInf(got, 0):
		return math.Inf(1)
	case math.Abs(want) < 1e-300:
		return math.Abs(got - want)
	default:
		return math.Abs(got-want) / math.Abs(want)
	}
}

var (
	reportMutex sync.Mutex
	reportFile  *os.File
)

// record appends a line to the file that GOLDEN_REPORT names, where it is set.
func record(t *testing.T, function string, e float64) {
	t.Helper()
	path := os.Getenv("GOLDEN_REPORT")
	if path == "" {
		return
	}
	reportMutex.Lock()
	defer reportMutex.Unlock()
	if reportFile == nil {
		f, err := os.OpenFile(filepath.Clean(path), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) //nolint:gosec // the file that the make target names
		require.NoError(t, err)
		reportFile = f
	}
	_, err := fmt.Fprintf(reportFile, "%s\t%g\n", function, e)
	require.NoError(t, err)
}
