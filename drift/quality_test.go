package drift_test

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/drift/quality"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/history/historytest"
)

// TestFiguresAreThoseOfPackageQuality compares names and directions.
func TestFiguresAreThoseOfPackageQuality(t *testing.T) {
	for _, kind := range []schemas.TargetKind{schemas.TargetBinary, schemas.TargetMulticlass, schemas.TargetRegression} {
		target := schemas.Target{Kind: kind, Probabilities: map[string]string{"a": "p"}}
		for _, f := range target.Figures() {
			m := quality.Metric(f.Name)
			require.True(t, m.Known(), "%s", f.Name)
			require.Equal(t, kind == schemas.TargetRegression, m.Regression(), "%s", f.Name)
			require.Equal(t, m.LowerIsBetter(), f.Direction == schemas.BreachesAbove, "%s", f.Name)
		}
	}
}

// scored is a row of a model that answers by every kind of output.
type scored struct {
	Chance    *float32  `ch:"chance"`
	Class     *string   `ch:"class"`
	Code      *int64    `ch:"code"`
	A         *float64  `ch:"pa"`
	B         *float64  `ch:"pb"`
	C         *float64  `ch:"pc"`
	Price     *float64  `ch:"price"`
	X         float32   `ch:"label"` // a feature that is called as a column of feedback is
	RequestID string    `ch:"request_id"`
	EventTime time.Time `ch:"event_time"`
	TopicID   string    `ch:"request_topic_id"`
	Offset    int64     `ch:"request_offset"`
	Version   string    `ch:"version"`
	Outcome   string    `ch:"outcome"`
	ScoredAt  time.Time `ch:"scored_at"`
}

// classLabel is a row of feedback.
type classLabel struct {
	Model      string    `ch:"model"`
	RequestID  string    `ch:"request_id"`
	Label      *float64  `ch:"label"`
	Class      string    `ch:"label_class"`
	ObservedAt time.Time `ch:"observed_at"`
	Partition  int32     `ch:"feedback_partition"`
	Offset     int64     `ch:"feedback_offset"`
}

// targeted is a model of a target, its rows and the labels that count.
type targeted struct {
	*clickhouse.Client
	manifest *schemas.Manifest
	rows     []scored
	labels   []classLabel // by row; of a zero model: none
}

func newTargeted(t *testing.T, client *clickhouse.Client, name string, target schemas.Target) *targeted {
	t.Helper()
	m := &schemas.Manifest{
		Name: name, Version: "1", Features: []schemas.Feature{{Name: "label", Type: schemas.TypeFloat32}}, Target: &target,
		Monitoring: &schemas.Monitoring{Window: schemas.Duration(time.Hour)},
	}
	for output, typ := range map[string]schemas.FeatureType{
		"chance": schemas.TypeFloat32, "class": schemas.TypeString, "code": schemas.TypeInt64,
		"pa": schemas.TypeFloat64, "pb": schemas.TypeFloat64, "pc": schemas.TypeFloat64, "price": schemas.TypeFloat64,
	} {
		m.Outputs = append(m.Outputs, schemas.Output{Name: output, Type: typ})
	}
	slices.SortFunc(m.Outputs, func(a, b schemas.Output) int { return cmp.Compare(a.Name, b.Name) })
	require.NoError(t, client.EnsureTable(t.Context(), m.ObservationSchema()))
	return &targeted{Client: client, manifest: m}
}

// store stores n rows of two windows that are 5 hours apart, with labels, corrections before and after them,
// and labels that the target cannot use.
func (w *targeted) store(t *testing.T, r *rand.Rand, n int, label func(*scored) classLabel, useless classLabel) {
	t.Helper()
	var feedback []classLabel
	for i := range n {
		at := historytest.Start.Add(time.Duration(i%2)*5*time.Hour + time.Duration(i)*time.Second)
		x := scored{
			Chance: new(r.Float32()), Class: new(pickOf(r, "it's", "b", "ç")), Code: new(int64(r.IntN(3)) - 1), Price: new(1e6 + 10*r.NormFloat64()),
			RequestID: fmt.Sprintf("%s-%d", w.manifest.Name, i), EventTime: at, TopicID: "t", Offset: int64(i), Version: "1", Outcome: schemas.OutcomeOK, ScoredAt: historytest.WallClock,
		}
		if r.IntN(5) == 0 {
			*x.Chance = float32(r.IntN(5)) / 4 // ties, 0 and 1
		}
		a, b, c := r.Float64(), r.Float64(), math.Floor(3*r.Float64())
		x.A, x.B, x.C = new(a/(a+b+c)), new(b/(a+b+c)), new(c/(a+b+c))
		w.rows = append(w.rows, x)
		var l classLabel
		if r.IntN(4) > 0 {
			l = label(&x)
			wrong := label(&x)
			for j, row := range []classLabel{l, wrong, useless} {
				row.Model, row.RequestID, row.Offset = w.manifest.Name, x.RequestID, int64(9*i+j)
				row.ObservedAt = historytest.WallClock.Add([]time.Duration{time.Hour, time.Minute, 2 * time.Hour}[j])
				feedback = append(feedback, row)
			}
			l.Model = w.manifest.Name
		}
		w.labels = append(w.labels, l)
	}
	require.NoError(t, w.InsertRows(t.Context(), schemas.ObservationsTable(w.manifest.Name), w.rows))
	require.NoError(t, w.InsertRows(t.Context(), "feedback", feedback))
}

func pickOf[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func number(x float64) classLabel { return classLabel{Label: &x} }
func class(s string) classLabel   { return classLabel{Class: s} }

// each calls with the rows of a window that have a label.
func (w *targeted) each(window int, what func(scored, classLabel)) {
	for i, x := range w.rows {
		if i%2 == window && w.labels[i].Model != "" {
			what(x, w.labels[i])
		}
	}
}

// require compares every figure of the target, of both windows, with what want gives.
func (w *targeted) require(t *testing.T, want func(window int) map[schemas.Stattest]float64) {
	t.Helper()
	starts := []time.Time{historytest.Start, historytest.Start.Add(time.Hour), historytest.Start.Add(5 * time.Hour)}
	store := history.New(w, w.Database())
	counts, err := store.CountQuality(t.Context(), w.manifest, starts)
	require.NoError(t, err)
	again, err := store.CountQuality(t.Context(), w.manifest, starts)
	require.NoError(t, err)
	require.Equal(t, counts, again, "to the last bit")
	require.Zero(t, counts[1].Labels())
	for window, q := range []profile.Quality{counts[0], counts[2]} {
		expected := want(window)
		for _, f := range w.manifest.Target.Figures() {
			value, ok := drift.QualityFigure(w.manifest.Target, q, f.Name)
			x, there := expected[f.Name]
			require.Equal(t, there, ok, "%s of window %d", f.Name, window)
			delete(expected, f.Name)
			if there {
				require.InEpsilon(t, 1+x, 1+value, 1e-15*math.Max(1, math.Abs(x)), "%s of window %d: %v, must be %v", f.Name, window, value, x)
				require.InDelta(t, x, value, 1e-12*math.Abs(x)+1e-300, "%s of window %d", f.Name, window)
			}
			_, ok = drift.QualityFigure(w.manifest.Target, counts[1], f.Name)
			require.False(t, ok, "%s of no rows", f.Name)
		}
		require.Empty(t, expected)
	}
}

// figuresOf names figures of package quality.
func figuresOf(t *testing.T, figures []quality.Figure) map[schemas.Stattest]float64 {
	t.Helper()
	out := map[schemas.Stattest]float64{}
	for _, f := range figures {
		require.NoError(t, f.Err, "%s", f.Metric)
		out[schemas.Stattest(f.Metric)] = *f.Value
	}
	return out
}

// binaryFigures are those of package quality.
func binaryFigures(t *testing.T, truth []bool, scores []float64, threshold float64) map[schemas.Stattest]float64 {
	t.Helper()
	c, _ := quality.NewConfusion(2)
	p, _ := quality.NewProbabilities(2, 0)
	ranking := quality.NewRanking()
	for i, positive := range truth {
		require.NoError(t, c.Add([]int{one(positive)}, []int{one(scores[i] >= threshold)}, nil))
	}
	require.NoError(t, p.AddBinary(truth, scores, nil))
	require.NoError(t, ranking.Add(truth, scores, nil))
	return figuresOf(t, quality.BinaryFigures(c, ranking, p, 0.95))
}

// classFigures are those of package quality; columns are the probabilities of classes, if there are any.
func classFigures(t *testing.T, labels, predictions []int, classes int, columns [][]float64) map[schemas.Stattest]float64 {
	t.Helper()
	c, _ := quality.NewConfusion(classes)
	require.NoError(t, c.Add(labels, predictions, nil))
	if len(columns) == 0 {
		return figuresOf(t, quality.MulticlassFigures(c, nil, 0.95))
	}
	p, _ := quality.NewProbabilities(len(columns), 0)
	require.NoError(t, p.Add(labels, columns, nil))
	out := figuresOf(t, quality.MulticlassFigures(c, p, 0.95))
	out[schemas.StattestAUC] = value(t)(quality.MulticlassROCAUC(labels, columns, nil, quality.AverageMacro))
	return out
}

// numberFigures are those of package quality.
func numberFigures(t *testing.T, target, prediction []float64) map[schemas.Stattest]float64 {
	t.Helper()
	c := quality.NewRegression()
	require.NoError(t, c.Add(target, prediction, nil))
	out := figuresOf(t, quality.RegressionFigures(c, 0.95))
	out[schemas.StattestMedianAbsoluteError] = value(t)(quality.MedianAbsoluteError(target, prediction, nil))
	return out
}

func value(t *testing.T) func(float64, error) float64 {
	t.Helper()
	return func(v float64, err error) float64 {
		require.NoError(t, err)
		return v
	}
}

func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	const seed = 11
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, seed))
}

func TestBinaryFiguresOfStoredRows(t *testing.T) {
	client, r := clickhousetest.Client(t), seeded(t)
	for name, tc := range map[string]struct {
		target  schemas.Target
		label   func(positive bool) classLabel
		useless classLabel
	}{
		"numbers": {
			schemas.Target{Kind: schemas.TargetBinary, Score: "chance", Threshold: 0.4, PositiveAbove: 15},
			func(positive bool) classLabel { return number(map[bool]float64{false: 15, true: 15.5}[positive]) }, class("yes"),
		},
		"words": {
			schemas.Target{Kind: schemas.TargetBinary, Score: "chance", Threshold: 0.5, Positive: "it's"},
			func(positive bool) classLabel { return class(map[bool]string{false: "no", true: "it's"}[positive]) }, number(1),
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTargeted(t, client, "binary_"+name, tc.target)
			w.store(t, r, 3000, func(x *scored) classLabel { return tc.label(r.Float32() < *x.Chance) }, tc.useless)
			w.require(t, func(window int) map[schemas.Stattest]float64 {
				var scores []float64
				var truth []bool
				w.each(window, func(x scored, l classLabel) {
					truth, scores = append(truth, l.Class == "it's" || (l.Label != nil && *l.Label > 15)), append(scores, float64(*x.Chance))
				})
				return binaryFigures(t, truth, scores, tc.target.Threshold)
			})
		})
	}
}

func TestMulticlassFiguresOfStoredRows(t *testing.T) {
	client, r := clickhousetest.Client(t), seeded(t)
	for name, tc := range map[string]struct {
		target  schemas.Target
		classes []string
		label   func(class string) classLabel
	}{
		"words": {
			schemas.Target{Kind: schemas.TargetMulticlass, Score: "class", Probabilities: map[string]string{"it's": "pa", "b": "pb", "ç": "pc"}},
			[]string{"b", "it's", "ç"},
			class,
		},
		"numbers": {
			schemas.Target{Kind: schemas.TargetMulticlass, Score: "code", Probabilities: map[string]string{"-1": "pc", "0": "pa", "1": "pb"}},
			[]string{"-1", "0", "1"},
			func(class string) classLabel { return number(map[string]float64{"-1": -1, "0": 0, "1": 1}[class]) },
		},
		"more": {schemas.Target{Kind: schemas.TargetMulticlass, Score: "class"}, []string{"it's", "b", "ç", "2.5"}, class},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTargeted(t, client, "classes_"+name, tc.target)
			index := func(s string) int { return slices.Index(tc.classes, s) }
			w.store(t, r, 2000, func(x *scored) classLabel {
				if predicted := x.text(tc.target.Score); r.IntN(3) > 0 && predicted != "it's" {
					return tc.label(predicted)
				}
				return tc.label(pickOf(r, tc.classes...))
			}, number(math.NaN()))
			w.require(t, func(window int) map[schemas.Stattest]float64 {
				var labels, predictions []int
				columns := make([][]float64, len(tc.target.Probabilities))
				w.each(window, func(x scored, l classLabel) {
					labels, predictions = append(labels, index(l.text())), append(predictions, index(x.text(tc.target.Score)))
					for i, class := range tc.target.Classes() {
						columns[i] = append(columns[i], *map[string]*float64{"pa": x.A, "pb": x.B, "pc": x.C}[tc.target.Probabilities[class]])
					}
				})
				if len(columns) > 0 {
					require.Equal(t, tc.classes, tc.target.Classes())
				}
				return classFigures(t, labels, predictions, len(tc.classes), columns)
			})
		})
	}
}

// text is the class of a label.
func (l *classLabel) text() string {
	if l.Label != nil {
		return fmt.Sprint(*l.Label)
	}
	return l.Class
}

// text is the predicted class.
func (x *scored) text(output string) string {
	if output == "code" {
		return strconv.FormatInt(*x.Code, 10)
	}
	return *x.Class
}

func TestRegressionFiguresOfStoredRows(t *testing.T) {
	client, r := clickhousetest.Client(t), seeded(t)
	w := newTargeted(t, client, "numbers", schemas.Target{Kind: schemas.TargetRegression, Score: "price"})
	w.store(t, r, 3000, func(x *scored) classLabel { return number(*x.Price + 3*r.NormFloat64() + 0.5) }, class("dear"))
	w.require(t, func(window int) map[schemas.Stattest]float64 {
		var target, prediction []float64
		w.each(window, func(x scored, l classLabel) {
			target, prediction = append(target, *l.Label), append(prediction, *x.Price)
		})
		return numberFigures(t, target, prediction)
	})
}

// TestFiguresWithoutAValue has predictions that are no probabilities, more classes than are
// counted, and one class alone.
func TestFiguresWithoutAValue(t *testing.T) {
	client, r := clickhousetest.Client(t), seeded(t)
	counted := func(w *targeted) profile.Quality {
		q, err := history.New(client, client.Database()).CountQuality(t.Context(), w.manifest, []time.Time{historytest.Start})
		require.NoError(t, err)
		return q[0]
	}
	figures := func(w *targeted, q profile.Quality) (names []schemas.Stattest) {
		for _, f := range w.manifest.Target.Figures() {
			if _, ok := drift.QualityFigure(w.manifest.Target, q, f.Name); ok {
				names = append(names, f.Name)
			}
		}
		return names
	}

	w := newTargeted(t, client, "beyond", schemas.Target{Kind: schemas.TargetBinary, Score: "price", Threshold: 0.5})
	w.store(t, r, 100, func(*scored) classLabel { return number(float64(r.IntN(2))) }, class("x"))
	require.Equal(t, []schemas.Stattest{
		schemas.StattestAccuracy, schemas.StattestBalancedAccuracy, schemas.StattestPrecision, schemas.StattestRecall, schemas.StattestF1,
		schemas.StattestMatthews, schemas.StattestKappa, schemas.StattestAUC, schemas.StattestAveragePrecision,
	}, figures(w, counted(w)))

	w = newTargeted(t, client, "many", schemas.Target{Kind: schemas.TargetMulticlass, Score: "class"})
	id := 0
	w.store(t, r, 4000, func(*scored) classLabel { id++; return class(fmt.Sprintf("class %d", id)) }, number(math.Inf(1)))
	q := counted(w)
	require.Len(t, q.Classes.Tallies, profile.MaxClasses)
	require.Greater(t, q.Classes.Distinct, int64(profile.MaxClasses))
	require.Equal(t, q.Labels(), q.Classes.Rows)
	require.Equal(t, []schemas.Stattest{schemas.StattestAccuracy}, figures(w, q))

	w = newTargeted(t, client, "foreign", schemas.Target{Kind: schemas.TargetMulticlass, Score: "class", Probabilities: map[string]string{"it's": "pa", "b": "pb"}})
	w.store(t, r, 100, func(*scored) classLabel { return class("b") }, number(math.NaN()))
	require.NotContains(t, figures(w, counted(w)), schemas.StattestLogLoss, "two of three probabilities do not sum to 1")
}
