package multivariate_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/internal/golden"
	"github.com/millrace/millrace/drift/multivariate"
)

// part is a factor and a generated input.
type part struct {
	factor float64
	spec   golden.Spec
}

func (p *part) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&p.factor, &p.spec})
}

type goldenColumn struct {
	Parts       []part `json:"parts"`
	Categorical bool   `json:"categorical"`
}

// matrix generates the columns, of which it takes the first rows; all, for 0.
func matrix(columns []goldenColumn, rows int) multivariate.Matrix {
	var m multivariate.Matrix
	for _, c := range columns {
		var sum []float64
		for _, p := range c.Parts {
			values := p.spec.Generate()
			if sum == nil {
				sum = make([]float64, len(values))
			}
			for i, v := range values {
				sum[i] += float64(p.factor * v)
			}
		}
		if rows > 0 {
			sum = sum[:rows]
		}
		m.Columns = append(m.Columns, sum)
		m.Categorical = append(m.Categorical, c.Categorical)
	}
	return m
}

type goldenChunk struct {
	First         int          `json:"first"`
	Last          int          `json:"last"`
	Error         golden.Float `json:"error"`
	SamplingError golden.Float `json:"sampling_error"`
	Drifted       bool         `json:"drifted"`
}

func TestGoldenPCA(t *testing.T) {
	for _, c := range golden.Load[struct {
		Name      string         `json:"name"`
		Reference []goldenColumn `json:"reference"`
		Current   []goldenColumn `json:"current"`
		Config    struct {
			Components  float64 `json:"n_components"`
			ChunkSize   int     `json:"chunk_size"`
			ChunkNumber int     `json:"chunk_number"`
		} `json:"config"`
		Components      int           `json:"components"`
		Explained       golden.Float  `json:"explained"`
		ReferenceError  golden.Float  `json:"reference_error"`
		CurrentError    golden.Float  `json:"current_error"`
		CurrentSampling golden.Float  `json:"current_sampling_error"`
		Lower           *golden.Float `json:"lower"`
		Upper           golden.Float  `json:"upper"`
		ReferenceChunks []goldenChunk `json:"reference_chunks"`
		CurrentChunks   []goldenChunk `json:"current_chunks"`
	}](t, "testdata/golden_pca.json") {
		t.Run(c.Name, func(t *testing.T) {
			o := multivariate.PCAOptions{ChunkSize: c.Config.ChunkSize, Chunks: c.Config.ChunkNumber}
			if c.Config.Components >= 1 {
				o.Components = int(c.Config.Components)
			} else {
				o.Explained = c.Config.Components
			}
			p, err := multivariate.FitPCA(matrix(c.Reference, 0), o)
			require.NoError(t, err)
			r, err := p.Compare(matrix(c.Current, 0))
			require.NoError(t, err)

			equal := func(what string, want golden.Float, got, tolerance float64) {
				t.Helper()
				golden.Equal(t, "pca reconstruction", c.Name+": "+what, float64(want), got, tolerance)
			}
			const tolerance = 1e-9
			equal("components", golden.Float(c.Components), float64(p.Components()), 0)
			equal("explained", c.Explained, p.Explained, tolerance)
			equal("reference error", c.ReferenceError, p.ReferenceError, tolerance)
			equal("current error", c.CurrentError, r.Error, tolerance)
			equal("current sampling error", c.CurrentSampling, r.SamplingError, tolerance)
			equal("upper limit", c.Upper, p.Upper, tolerance)
			require.Equal(t, c.Lower == nil, p.Lower == nil)
			if c.Lower != nil {
				equal("lower limit", *c.Lower, *p.Lower, tolerance)
			}
			for side, pair := range map[string]struct {
				want []goldenChunk
				got  []multivariate.Chunk
			}{"reference": {c.ReferenceChunks, p.Reference}, "current": {c.CurrentChunks, r.Chunks}} {
				require.Len(t, pair.got, len(pair.want))
				for k, want := range pair.want {
					got, what := pair.got[k], fmt.Sprintf("%s chunk %d: ", side, k)
					equal(what+"first row", golden.Float(want.First), float64(got.First), 0)
					equal(what+"last row", golden.Float(want.Last), float64(got.First+got.Rows-1), 0)
					equal(what+"error", want.Error, got.Error, tolerance)
					if got.Rows == 1 { // where NannyML has NaN
						require.Zero(t, got.SamplingError)
					} else {
						equal(what+"sampling error", want.SamplingError, got.SamplingError, tolerance)
					}
					require.Equal(t, want.Drifted, got.Drifted, what)
				}
			}
		})
	}
}

func TestGoldenEnergy(t *testing.T) {
	for _, c := range golden.Load[struct {
		Name      string         `json:"name"`
		Reference []goldenColumn `json:"reference"`
		Current   []goldenColumn `json:"current"`
		Rows      [2]int         `json:"rows"`
		Distance  golden.Float   `json:"distance"`
		Shares    []golden.Float `json:"shares"`
	}](t, "testdata/golden_energy.json") {
		t.Run(c.Name, func(t *testing.T) {
			r, err := multivariate.EnergyByReference(matrix(c.Reference, c.Rows[0]), matrix(c.Current, c.Rows[1]), multivariate.EnergyOptions{Permutations: 1})
			require.NoError(t, err)
			golden.Equal(t, "energy distance", c.Name, float64(c.Distance), r.Distance, 1e-9)
			require.Len(t, r.Contributions, len(c.Reference))
			if len(c.Shares) == 0 {
				return
			}
			for k, got := range r.Contributions {
				golden.Equal(t, "energy distance contributions", fmt.Sprintf("%s: column %d", c.Name, got.Column), float64(c.Shares[got.Column]), got.Share, 1e-8)
				if k > 0 {
					require.LessOrEqual(t, got.Share, r.Contributions[k-1].Share)
				}
			}
		})
	}
}

func TestGoldenClassifier(t *testing.T) {
	for i, c := range golden.Load[struct {
		Scores golden.Spec    `json:"scores"`
		Labels golden.Spec    `json:"labels"`
		AUC    golden.Float   `json:"auc"`
		Null   []golden.Float `json:"null"`
		Area   golden.Float   `json:"area"`
		P      golden.Float   `json:"p"`
	}](t, "testdata/golden_classifier.json") {
		var positive []bool
		for _, v := range c.Labels.Generate() {
			positive = append(positive, v == 1)
		}
		golden.Equal(t, "domain classifier roc auc", strconv.Itoa(i), float64(c.AUC), multivariate.AUC(c.Scores.Generate(), positive), 1e-12)
		golden.Equal(t, "domain classifier p", strconv.Itoa(i), float64(c.P), multivariate.AgainstNull(float64(c.Area), golden.Floats(c.Null)), 1e-9)
	}
}
