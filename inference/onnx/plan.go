package onnx

import (
	"errors"
	"fmt"
	"slices"

	"github.com/millrace/millrace/schemas"
)

// inputPlan says which features fill a tensor, by their index in the manifest.
type inputPlan struct {
	tensor   Tensor
	features []int
}

// planInputs assigns the manifest's features to the graph's inputs and checks names,
// widths and types. batch is the number of rows that the graph insists on, 0 if it takes
// any. All that does not fit is reported at once.
func planInputs(m *schemas.Manifest, g *Graph) (inputs []inputPlan, batch int, err error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, in := range m.Inputs {
		if _, ok := find(g.Inputs, in.Name); !ok {
			bad("the manifest fills input %q, and the graph has %s", in.Name, names(g.Inputs))
		}
	}
	fed := make([]bool, len(m.Features))
	for _, t := range g.Inputs {
		if err := t.readable(); err != nil {
			bad("graph input %w", err)
			continue
		}
		p := inputPlan{tensor: t}
		for _, name := range featuresOf(m, g, t.Name) {
			i := slices.IndexFunc(m.Features, func(f schemas.Feature) bool { return f.Name == name })
			if i < 0 {
				bad("graph input %q (%s) is filled by no feature: name a feature so, or list its features under inputs", t.Name, t)
				continue
			}
			fed[i] = true
			p.features = append(p.features, i)
			switch f := &m.Features[i]; {
			case cuts(f.Type, t.element()):
				bad("graph input %q is %s, and the manifest says feature %q is %s, which does not convert without loss: declare it as %s",
					t.Name, t, f.Name, f.Type, featureType(t.element()))
			case !feeds(f.Type, t.element()):
				bad("graph input %q is %s, and the manifest says feature %q is %s, which does not convert", t.Name, t, f.Name, f.Type)
			}
		}
		if w := t.width(); w > 0 && len(p.features) != w {
			bad("graph input %q is %s, and the manifest fills it with %d features", t.Name, t, len(p.features))
		}
		if b := t.batch(); b > 0 {
			if batch > 0 && b != batch {
				bad("graph inputs want %d rows and %d rows at once", batch, b)
			}
			batch = b
		}
		inputs = append(inputs, p)
	}
	for i, f := range m.Features {
		if !fed[i] && len(errs) == 0 {
			bad("the manifest's feature %q fills no input; the graph has %s", f.Name, names(g.Inputs))
		}
	}
	return inputs, batch, errors.Join(errs...)
}

// featuresOf lists the features that fill an input, as schemas.Input says.
func featuresOf(m *schemas.Manifest, g *Graph, input string) []string {
	if len(m.Inputs) == 0 && len(g.Inputs) == 1 {
		all := make([]string, len(m.Features))
		for i, f := range m.Features {
			all[i] = f.Name
		}
		return all
	}
	for _, in := range m.Inputs {
		if in.Name == input {
			return in.Features
		}
	}
	if len(m.Inputs) > 0 {
		return []string{""} // filled by nothing
	}
	return []string{input}
}

// feeds tells whether a feature converts to an element.
func feeds(f schemas.FeatureType, element string) bool {
	switch element {
	case elementString:
		return f == schemas.TypeString || f == schemas.TypeCategory
	case elementBool:
		return f == schemas.TypeBool
	default:
		return f != schemas.TypeString
	}
}

// cuts tells whether numbers of a feature would lose more than digits in an integer
// element: their fraction, or all that does not fit.
func cuts(f schemas.FeatureType, element string) bool {
	isFloat := f == schemas.TypeFloat32 || f == schemas.TypeFloat64
	switch element {
	case elementInt64:
		return isFloat
	case elementInt32:
		return isFloat || f == schemas.TypeInt64
	default:
		return false
	}
}

// neededOutputs returns the graph's outputs that the manifest reads, each once, after
// checking that they exist and can be read.
func neededOutputs(m *schemas.Manifest, g *Graph) ([]Tensor, error) {
	var needed []Tensor
	var errs []error
	for _, o := range m.Outputs {
		t, ok := find(g.Outputs, o.Tensor)
		if !ok {
			errs = append(errs, fmt.Errorf("the manifest's output %q reads tensor %q, and the graph has %s", o.Name, o.Tensor, names(g.Outputs)))
			continue
		}
		if _, ok := find(needed, o.Tensor); ok {
			continue
		}
		if err := t.converts(); err != nil {
			errs = append(errs, fmt.Errorf("graph output %w", err))
		}
		needed = append(needed, t)
	}
	return needed, errors.Join(errs...)
}

// adviceOnRows is what can be done about an output that is not one row for each row.
const adviceOnRows = "name another output, or export the graph so that each row has an answer of its own; " +
	"where a run of one row has one answer, batch: {max_batch_size: 1} (millrace init --max-batch-size 1) scores each row alone"

// checkOutputs checks columns and types against tensors whose shapes are known, batch
// being the number of rows that the graph insists on.
func checkOutputs(m *schemas.Manifest, tensors []Tensor, batch int) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, t := range tensors {
		if err := t.readable(); err != nil {
			bad("graph output %w", err)
			continue
		}
		if err := t.perRow(batch); err != nil {
			bad("graph output %w: %s", err, adviceOnRows)
		}
	}
	for _, o := range m.Outputs {
		t, ok := find(tensors, o.Tensor)
		if ok && t.width() > 0 && o.Index >= t.width() {
			bad("graph output %q is %s, and the manifest's output %q is at index %d", t.Name, t, o.Name, o.Index)
		}
		if ok && !gives(t.element(), o.Type) {
			bad("graph output %q is %s, and the manifest says output %q is %s, which does not convert", t.Name, t, o.Name, o.Type)
		}
	}
	return errors.Join(errs...)
}

// gives tells whether an element converts to an output without losing its meaning.
func gives(element string, o schemas.FeatureType) bool {
	switch element {
	case elementString:
		return o == schemas.TypeString
	case elementBool:
		return o == schemas.TypeBool
	case elementInt32:
		return o.Numeric()
	case elementInt64:
		return o.Numeric() && o != schemas.TypeInt32
	default:
		return o == schemas.TypeFloat32 || o == schemas.TypeFloat64
	}
}
