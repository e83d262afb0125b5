package schemas

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"
)

// RetrainingRule is a compiled RetrainingPolicy.When. It is safe for concurrent use.
type RetrainingRule struct {
	program *vm.Program
	known   []string // variables, sorted
}

// Names of the variables of a rule that every manifest has. The others are of its checks, named as
// CheckVariable does, with whether they breached, and the figures of its target.
const (
	VarBreaches              = "breaches"              // checks that breached in the window
	VarCritical              = "critical"              // those of severity critical
	VarRetrain               = "retrain"               // bool: a check with retrain breached
	VarRows                  = "rows"                  // of the window
	VarLabels                = "labels"                // of the window
	VarNewLabels             = "new_labels"            // of the windows since the one that asked last
	VarAgeDays               = "age_days"              // from the version's first window to the window's end
	VarDaysSince             = "days_since_retraining" // by event time, since a window asked last
	VarRequiredAccuracy      = "required_accuracy"     // requirements.accuracy
	breachedVariable         = "breached_"             // before a check's name: bool
	maxRule                  = 2000                    // bytes
	maxRuleNodes        uint = 500
)

// CheckVariable names the variable of a check: psi_price, accuracy.
func CheckVariable(test Stattest, column string) string {
	return strings.TrimSuffix(string(test)+"_"+column, "_")
}

// BreachedVariable names the variable that says whether a check breached.
func BreachedVariable(test Stattest, column string) string {
	return breachedVariable + CheckVariable(test, column)
}

// RetrainingVariables returns the variables that a rule of the manifest may use, as they are where
// nothing is known of them: numbers are NaN, which no comparison but != holds for, and bools false.
func (m *Manifest) RetrainingVariables() map[string]any {
	out := map[string]any{VarRetrain: false}
	for _, name := range []string{VarBreaches, VarCritical, VarRows, VarLabels, VarNewLabels, VarAgeDays, VarDaysSince, VarRequiredAccuracy} {
		out[name] = math.NaN()
	}
	if m.Requires.Accuracy > 0 {
		out[VarRequiredAccuracy] = m.Requires.Accuracy
	}
	if m.Target != nil {
		for _, f := range m.Target.Figures() {
			out[string(f.Name)] = math.NaN()
		}
		if m.Target.Kind == TargetBinary {
			for _, s := range EstimatedFigures {
				out[string(s.Estimated())], out[string(s.LessEstimated())] = math.NaN(), math.NaN()
			}
		}
	}
	if m.Monitoring != nil {
		for _, c := range m.Monitoring.Checks {
			out[CheckVariable(c.Stattest, c.Column)], out[BreachedVariable(c.Stattest, c.Column)] = math.NaN(), false
		}
	}
	return out
}

// RetrainingRule compiles the manifest's monitoring.retraining.when; nil where it has none.
func (m *Manifest) RetrainingRule() (*RetrainingRule, error) {
	if m.Monitoring == nil || m.Monitoring.Retraining.When == "" {
		return nil, nil //nolint:nilnil // the checks with retrain decide
	}
	when, known := m.Monitoring.Retraining.When, m.RetrainingVariables()
	if len(when) > maxRule {
		return nil, fmt.Errorf("has %d bytes; at most %d are allowed", len(when), maxRule)
	}
	bounded := []expr.Option{
		expr.Env(known), expr.AsBool(), expr.MaxNodes(maxRuleNodes), expr.DisableAllBuiltins(),
		expr.EnableBuiltin("abs"), expr.EnableBuiltin("min"), expr.EnableBuiltin("max"),
	}
	tree, err := parser.Parse(when)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %s", oneLine(err))
	}
	check := ruleCheck{known: known}
	ast.Walk(&tree.Node, &check)
	if check.err != nil {
		return nil, check.err
	}
	program, err := expr.Compile(when, bounded...)
	if err != nil {
		return nil, fmt.Errorf("is no condition: %s", oneLine(err))
	}
	return &RetrainingRule{program: program, known: slices.Sorted(maps.Keys(known))}, nil
}

// oneLine is an error of the parser without the lines that point at a place of the text.
func oneLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// ruleCheck allows what costs as much as it is long: conditions of numbers and bools, without loops,
// texts, or anything that grows.
type ruleCheck struct {
	known map[string]any
	err   error
}

// Visit implements ast.Visitor.
func (c *ruleCheck) Visit(node *ast.Node) {
	if c.err != nil {
		return
	}
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		if _, ok := c.known[n.Value]; !ok {
			c.err = fmt.Errorf("knows no %q; it may use %s", n.Value, strings.Join(slices.Sorted(maps.Keys(c.known)), ", "))
		}
	case *ast.BinaryNode:
		if !slices.Contains([]string{"and", "&&", "or", "||", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/"}, n.Operator) {
			c.err = fmt.Errorf("may not use %s", n.Operator)
		}
	case *ast.UnaryNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.ConditionalNode:
	case *ast.BuiltinNode:
		if !slices.Contains([]string{"abs", "min", "max"}, n.Name) {
			c.err = fmt.Errorf("may not use %s; of functions there are abs, min and max", n.Name)
		}
	default:
		c.err = errors.New("may use numbers, variables, comparisons, and, or, not, + - * /, abs, min and max, and nothing else")
	}
}

// Decide tells whether the rule asks for retraining, given values of RetrainingVariables.
func (r *RetrainingRule) Decide(values map[string]any) (bool, error) {
	machine := vm.VM{MemoryBudget: 1 << 10}
	out, err := machine.Run(r.program, values)
	if err != nil {
		return false, fmt.Errorf("evaluate monitoring.retraining.when: %s", oneLine(err))
	}
	asks, _ := out.(bool) // as it was compiled
	return asks, nil
}

// Evidence returns the values by which a rule decided, without those that are not known.
func (r *RetrainingRule) Evidence(values map[string]any) map[string]any {
	out := map[string]any{}
	for _, name := range r.known {
		if x, number := values[name].(float64); !number || !math.IsNaN(x) && !math.IsInf(x, 0) {
			out[name] = values[name]
		}
	}
	return out
}
