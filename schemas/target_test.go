package schemas_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

// outputs is a manifest with an output of each type, without target.
const outputs = `name: m
version: "1"
runtime: onnx
artifact: {file: model.onnx, sha256: ` + sum + `}
features: [{name: x, type: float32}]
outputs:
  - {name: p, type: float32}
  - {name: q, type: float64}
  - {name: whole, type: int64}
  - {name: text, type: string}
  - {name: flag, type: bool}
monitoring: {window: 1h, checks: [CHECKS]}
target: TARGET
`

func parseTarget(target, checks string) (*schemas.Manifest, error) {
	return schemas.ParseManifest("m.yaml", []byte(strings.NewReplacer("TARGET", target, "CHECKS", checks).Replace(outputs)))
}

func TestTargetsAreRead(t *testing.T) {
	for target, want := range map[string]schemas.Target{
		"{kind: binary, score: p}":                  {Kind: schemas.TargetBinary, Score: "p", Threshold: 0.5},
		"{kind: binary, score: p, positive: churn}": {Kind: schemas.TargetBinary, Score: "p", Threshold: 0.5, Positive: "churn"},
		"{kind: binary, score: p, positive: 1st}":   {Kind: schemas.TargetBinary, Score: "p", Threshold: 0.5, Positive: "1st"},
		"{kind: regression, score: q}":              {Kind: schemas.TargetRegression, Score: "q"},
		"{kind: regression, score: whole}":          {Kind: schemas.TargetRegression, Score: "whole"},
		"{kind: multiclass, score: text}":           {Kind: schemas.TargetMulticlass, Score: "text"},
		"{kind: multiclass, score: whole, probabilities: {0: p, 1: q}}": {
			Kind: schemas.TargetMulticlass, Score: "whole", Probabilities: map[string]string{"0": "p", "1": "q"},
		},
		`{kind: multiclass, score: text, probabilities: {"it's": p, 007: q}}`: {
			Kind: schemas.TargetMulticlass, Score: "text", Probabilities: map[string]string{"it's": "p", "007": "q"},
		},
	} {
		m, err := parseTarget(target, "")
		require.NoError(t, err, target)
		require.Equal(t, want, *m.Target, target)
	}
}

func TestTargetRules(t *testing.T) {
	for _, tc := range []struct{ target, check, want string }{
		{"{kind: multiclass, score: p}", "", `target.score: output "p" is float32, and classes are string, int32 or int64`},
		{"{kind: multiclass, score: flag}", "", `target.score: output "flag" is bool, and classes are`},
		{"{kind: regression, score: text}", "", `target.score: output "text" is string, not a number`},
		{"{kind: regression, score: flag}", "", `target.score: output "flag" is bool, not a number`},
		{"{kind: regression, score: q, threshold: 0.5}", "", "target: threshold, positive_above and positive are of kind binary, and this is regression"},
		{"{kind: multiclass, score: text, positive: a}", "", "target: threshold, positive_above and positive are of kind binary, and this is multiclass"},
		{"{kind: binary, score: p, positive: yes, positive_above: 1}", "", "target.positive: is for labels that are strings, and positive_above for those that are numbers"},
		{"{kind: binary, score: p, positive: 1}", "", `target.positive: "1" is a label that is no string`},
		{"{kind: binary, score: p, positive: 'True'}", "", `target.positive: "True" is a label that is no string`},
		{"{kind: binary, score: p, probabilities: {a: p, b: q}}", "", "target.probabilities: are of kind multiclass, and this is binary"},
		{"{kind: multiclass, score: text, probabilities: {a: p}}", "", "target.probabilities: must name from 2 to 100 classes, got 1"},
		{"{kind: multiclass, score: text, probabilities: {a: p, b: r}}", "", `target.probabilities: of class "b": "r" is no output`},
		{"{kind: multiclass, score: text, probabilities: {a: p, b: p}}", "", `target.probabilities: of class "b": output "p" is already that of class "a"`},
		{"{kind: multiclass, score: text, probabilities: {a: p, b: whole}}", "", `of class "b": output "whole" is int64, not float32 or float64`},
		{"{kind: multiclass, score: whole, probabilities: {a: p, 1: q}}", "", `target.probabilities: class "a" is no whole number`},
		{"{kind: multiclass, score: whole, probabilities: {01: p, 1: q}}", "", `target.probabilities: class "01" is no whole number`},
		{"{kind: regression, score: q}", "{stattest: accuracy, threshold: 0.5}", "monitoring.checks[0]: accuracy is no figure of a regression target; it has mae, median_absolute_error,"},
		{"{kind: binary, score: p}", "{stattest: rmse, threshold: 0.5}", "monitoring.checks[0]: rmse is no figure of a binary target; it has accuracy,"},
		{"{kind: multiclass, score: text}", "{stattest: average_precision, threshold: 0.5}", "average_precision is no figure of a multiclass target"},
		{"{kind: multiclass, score: text}", "{stattest: log_loss, threshold: 0.5}", "monitoring.checks[0]: log_loss needs target.probabilities"},
		{"{kind: regression, score: q}", "{stattest: mae, threshold: -1}", "monitoring.checks[0].threshold: must be at least 0, got -1"},
		{"{kind: regression, score: q}", "{stattest: mae, column: q, threshold: 1}", "monitoring.checks[0].column: mae is of the target"},
	} {
		_, err := parseTarget(tc.target, tc.check)
		require.ErrorContains(t, err, tc.want, "%s %s", tc.target, tc.check)
	}
	_, err := parseTarget("{kind: regression, score: q}", "{stattest: r2, threshold: -0.5}")
	require.NoError(t, err, "r2 can be below 0")
}

func TestFigureDirections(t *testing.T) {
	for name, breached := range map[schemas.Stattest]map[float64]bool{
		schemas.StattestAccuracy: {0.4: true, 0.5: false, 0.6: false},
		schemas.StattestRMSE:     {0.4: false, 0.5: false, 0.6: true},
		schemas.StattestBias:     {-0.6: true, -0.5: false, 0: false, 0.6: true},
	} {
		f, ok := schemas.FigureOf(name)
		require.True(t, ok)
		for value, want := range breached {
			require.Equal(t, want, f.Breached(value, 0.5), "%s %v", name, value)
		}
	}
	require.False(t, schemas.StattestPSI.Quality())
	target := schemas.Target{Kind: schemas.TargetMulticlass}
	require.NotContains(t, figureNames(target), schemas.StattestLogLoss)
	target.Probabilities = map[string]string{"a": "p", "b": "q"}
	require.Contains(t, figureNames(target), schemas.StattestLogLoss)
}

func figureNames(target schemas.Target) (names []schemas.Stattest) {
	for _, f := range target.Figures() {
		names = append(names, f.Name)
	}
	return names
}

func TestLearnedReferenceRules(t *testing.T) {
	m := parse(t, minimal+"monitoring: {window: 1h, reference: {windows: 7}, checks: [{stattest: ks, column: x, threshold: 0.1}]}\n")
	require.Equal(t, 7, m.Monitoring.Reference.Windows)
	for text, want := range map[string]string{
		"monitoring: {window: 1h, reference: {windows: 0}, checks: []}":                                                           "monitoring.reference.windows: must be from 1 to 366, got 0",
		"monitoring: {window: 1h, reference: {windows: 7}, checks: []}\nreference: {file: reference.json, sha256: " + sum + "}\n": "monitoring.reference: would be learned, and the manifest names one already",
	} {
		_, err := schemas.ParseManifest("m.yaml", []byte(minimal+text))
		require.ErrorContains(t, err, want)
	}
}
