package detect_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/detect"
	"github.com/millrace/millrace/drift/internal/golden"
)

type goldenCase struct {
	Name       string          `json:"name"`
	Detector   string          `json:"detector"`
	Config     json.RawMessage `json:"config"`
	Window     *golden.Spec    `json:"window"` // that KSWIN begins with
	Stream     []golden.Spec   `json:"stream"`
	Drifts     []int           `json:"drifts"` // the first of them
	Detections int             `json:"detections"`
	Warnings   []int           `json:"warnings"` // where a warning begins, the first of them
	Warned     int             `json:"warned"`   // values with a warning
	At         []struct {
		Index   int                     `json:"index"`
		Figures map[string]golden.Float `json:"figures"`
	} `json:"at"`
}

func (c goldenCase) values() []float64 {
	var out []float64
	for _, s := range c.Stream {
		out = append(out, s.Generate()...)
	}
	return out
}

// detector returns that of the case's parameters over the defaults, by their names.
func (c goldenCase) detector(t *testing.T) detect.Detector {
	t.Helper()
	if c.Detector == detect.KindKSWIN && c.Window != nil {
		config := detect.DefaultKSWINConfig()
		require.NoError(t, json.Unmarshal(c.Config, &config))
		d, err := detect.NewKSWIN(config, c.Window.Generate()...)
		require.NoError(t, err)
		return d
	}
	d, err := detect.NewWith(c.Detector, c.Config)
	require.NoError(t, err)
	return d
}

func figures(t *testing.T, d detect.Detector) map[string]float64 {
	t.Helper()
	switch d := d.(type) {
	case *detect.ADWIN:
		return map[string]float64{"width": float64(d.Width()), "total": d.Total(), "variance": d.Variance(), "mean": d.Mean()}
	case *detect.PageHinkley:
		increase, decrease := d.Statistics()
		return map[string]float64{"mean": d.Mean(), "width": float64(d.Width()), "increase": increase, "decrease": decrease}
	case *detect.DDM:
		p, s := d.ErrorRate()
		pMin, sMin := d.Least()
		return map[string]float64{"rate": p, "deviation": s, "least rate": pMin, "least deviation": sMin}
	case *detect.EDDM:
		mean, deviation := d.Distance()
		return map[string]float64{"errors": float64(d.Errors()), "distance": mean, "deviation": deviation, "most": d.Most()}
	case *detect.KSWIN:
		_, p := d.Test()
		return map[string]float64{"p": p, "width": float64(d.Width())}
	case *detect.CUSUM:
		target, sigma := d.Control()
		upper, lower := d.Sums()
		return map[string]float64{"upper": upper, "lower": lower, "target": target, "sigma": sigma}
	}
	if d, ok := d.(*detect.EDetector); ok {
		low, high, _ := d.Bounds()
		return map[string]float64{"low": low, "high": high, "e": d.EValue(), "threshold": d.Threshold()}
	}
	t.Fatalf("unknown detector %T", d)
	return nil
}

// tolerance of figures. River's and ours are sums in one order, so they are equal but for the
// last digit of a root. CUSUM's reference estimates exactly; its sums lose digits near 0. The e-detector's
// is in fractions.
func (c goldenCase) tolerance() float64 {
	switch c.Detector {
	case detect.KindEDDM:
		return 1e-13
	case detect.KindCUSUM, detect.KindEDetector:
		return 1e-9
	}
	return 0
}

func TestGoldenDetectors(t *testing.T) {
	for i, c := range golden.Load[goldenCase](t, "testdata/golden_detect.json") {
		t.Run(fmt.Sprintf("%d %s %s", i, c.Detector, c.Name), func(t *testing.T) {
			d := c.detector(t)
			equal := func(what string, want, got float64) {
				t.Helper()
				golden.Equal(t, "detect "+c.Detector, what, want, got, c.tolerance())
			}
			var drifts, warnings []int
			warned, before, at := 0, false, 0
			for i, v := range c.values() {
				require.NoError(t, d.Update(v))
				if d.DriftDetected() {
					drifts = append(drifts, i)
				}
				if d.WarningDetected() {
					warned++
					if !before {
						warnings = append(warnings, i)
					}
				}
				before = d.WarningDetected()
				if at < len(c.At) && c.At[at].Index == i {
					got := figures(t, d)
					require.Len(t, got, len(c.At[at].Figures))
					for name, want := range c.At[at].Figures {
						equal(fmt.Sprintf("%s after value %d", name, i), float64(want), got[name])
					}
					at++
				}
			}
			require.Len(t, c.At, at)
			equal("detections", float64(c.Detections), float64(d.Detections()))
			require.Len(t, drifts, c.Detections)
			for k, want := range c.Drifts {
				equal(fmt.Sprintf("index of drift %d", k), float64(want), float64(drifts[k]))
			}
			equal("values with a warning", float64(c.Warned), float64(warned))
			require.GreaterOrEqual(t, len(warnings), len(c.Warnings))
			for k, want := range c.Warnings {
				equal(fmt.Sprintf("index of warning %d", k), float64(want), float64(warnings[k]))
			}
		})
	}
}

func TestGoldenSample(t *testing.T) {
	for _, c := range golden.Load[struct {
		Seed  string  `json:"seed"`
		N     int     `json:"n"`
		K     int     `json:"k"`
		Draws [][]int `json:"draws"`
		Word  uint32  `json:"word"`
	}](t, "testdata/golden_sample.json") {
		seed, err := strconv.ParseUint(c.Seed, 10, 64)
		require.NoError(t, err)
		r := detect.NewTwister(seed)
		for _, want := range c.Draws {
			got := r.Sample(c.N, c.K)
			require.Len(t, got, len(want))
			for i := range want {
				golden.Equal(t, "detect random.sample", fmt.Sprintf("seed %s, %d of %d, draw %d", c.Seed, c.K, c.N, i), float64(want[i]), float64(got[i]), 0)
			}
		}
		for range 1000 {
			r.Word()
		}
		golden.Equal(t, "detect random.getrandbits", "seed "+c.Seed, float64(c.Word), float64(r.Word()), 0)
	}
}

func TestGoldenKS(t *testing.T) {
	for _, c := range golden.Load[struct {
		N int          `json:"n"`
		H int          `json:"h"`
		P golden.Float `json:"p"`
	}](t, "testdata/golden_ks.json") {
		golden.Equal(t, "detect ks p", fmt.Sprintf("n %d, h %d", c.N, c.H), float64(c.P), detect.KSExact(c.N, c.H), 1e-13)
	}
}
