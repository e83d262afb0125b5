package schemas_test

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

// policied returns a manifest with a rule.
func policied(when string) *schemas.Manifest {
	return &schemas.Manifest{
		Requires: schemas.Requirements{Accuracy: 0.9},
		Target:   &schemas.Target{Kind: schemas.TargetBinary, Score: "score"},
		Monitoring: &schemas.Monitoring{
			Checks:     []schemas.Check{{Stattest: schemas.StattestPSI, Column: "price"}, {Stattest: schemas.StattestShare}, {Stattest: schemas.StattestAUC}},
			Retraining: schemas.RetrainingPolicy{When: when},
		},
	}
}

func TestRetrainingRule(t *testing.T) {
	for when, want := range map[string]bool{
		"psi_price > 0.3": true,
		"breached_psi_price and not breached_drift_share": true,
		"roc_auc < 0.8":                                     false, // not known
		"roc_auc >= 0.8":                                    false,
		"roc_auc != roc_auc":                                true,
		"accuracy < required_accuracy - 0.02":               true,
		"max(psi_price, drift_share) > 0.35 && rows >= 100": true,
		"age_days > 90 or new_labels > 10_000":              false,
		"rows > 10 ? psi_price > 1 : true":                  false,
		"abs(-1) == 1":                                      true,
	} {
		m := policied(when)
		rule, err := m.RetrainingRule()
		require.NoError(t, err, when)
		values := m.RetrainingVariables()
		values["psi_price"], values["breached_psi_price"], values["drift_share"], values["rows"], values["accuracy"] = 0.4, true, 0.1, 100.0, 0.85
		asks, err := rule.Decide(values)
		require.NoError(t, err, when)
		require.Equal(t, want, asks, when)
		evidence := rule.Evidence(values)
		require.Equal(t, 0.4, evidence["psi_price"])
		require.Equal(t, 0.9, evidence["required_accuracy"])
		require.NotContains(t, evidence, "roc_auc", "what is not known is no evidence")
	}
	none, err := policied("").RetrainingRule()
	require.NoError(t, err)
	require.Nil(t, none)
}

func TestRetrainingRuleIsRefused(t *testing.T) {
	for when, want := range map[string]string{
		"psi_prize > 0.3":                   `knows no "psi_prize"; it may use accuracy, age_days,`,
		"psi_price":                         "is no condition: expected bool",
		"psi_price > true":                  "is no condition: invalid operation",
		"psi_price >":                       "cannot be read: ",
		`psi_price > "0.3"`:                 "may use numbers, variables",
		"all(1..1000000000, # > 0)":         "may not use ..",
		"rows in 1..1000000000":             "may not use ",
		"len(1..1000000000) > 1":            "may not use",
		"now() > now()":                     "may not use",
		"let x = rows; x > 1":               "may use",
		"'a' matches 'b'":                   "and nothing else",
		"2 ** 1000 > rows":                  "may not use **",
		strings.Repeat("1+", 400) + "1 > 0": "is no condition: ",
		strings.Repeat("(", 3000):           "at most 2000 are allowed",
	} {
		_, err := policied(when).RetrainingRule()
		require.ErrorContains(t, err, want, "%.80s", when)
		require.NotContains(t, err.Error(), "\n")
	}
}

// FuzzRetrainingRule has whatever compiles be decided without an error.
func FuzzRetrainingRule(f *testing.F) {
	for _, when := range []string{"psi_price > 0.3", "not (a", "rows / 0 > 1", "max() > 1", "min(1, 2) < 3 and retrain", "true ? false : 1 > 2", "((((1))))==1"} {
		f.Add(when, 0.5)
	}
	f.Fuzz(func(t *testing.T, when string, x float64) {
		m := policied(when)
		rule, err := m.RetrainingRule()
		if rule == nil || err != nil {
			return
		}
		values := m.RetrainingVariables()
		for name, v := range values {
			if _, number := v.(float64); number {
				values[name] = x
			}
		}
		if _, err := rule.Decide(values); err != nil {
			t.Fatalf("%q: %v", when, err)
		}
		for name, v := range rule.Evidence(values) {
			if n, number := v.(float64); number && math.IsNaN(n) {
				t.Fatalf("%s is NaN", name)
			}
		}
	})
}
