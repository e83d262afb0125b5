package onnx

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Graph is what an ONNX graph takes and gives.
type Graph struct {
	Inputs, Outputs []Tensor

	path string
	text []byte // what is executed instead of the file at path; nil where that is

	known map[graphColumn][]string // see graphParts.knownCategories
	half  bool                     // it computes with floats of 16 bits

	divides bool // it may divide whole numbers; see tensor.outside
}

// Tensor is one input or output of a graph.
type Tensor struct {
	Name  string
	Kind  string  // "tensor"; of other values, which millrace cannot read, "sequence", "map", …
	Type  string  // element type by its ONNX name: float, double, int64, int32, bool, string, …
	Shape []int64 // -1 for a dimension that the graph leaves open; empty where it does not say

	session string   // its name in the graph that is executed, where that is another; see rewrite
	classes []string // of its columns, where the graph names them
}

const kindTensor = "tensor"

// Element types that millrace converts.
const (
	elementFloat  = "float"
	elementDouble = "double"
	elementInt64  = "int64"
	elementInt32  = "int32"
	elementBool   = "bool"
	elementString = "string"
)

var elements = []string{elementFloat, elementDouble, elementInt64, elementInt32, elementBool, elementString}

// inSession returns the name that the tensor has in the graph that is executed.
func (t Tensor) inSession() string {
	if t.session != "" {
		return t.session
	}
	return t.Name
}

// element returns the type of the tensor's values as they are exchanged with the runtime.
func (t Tensor) element() string {
	if w, ok := wide[t.Type]; ok {
		return w.as
	}
	return t.Type
}

// String describes the tensor without its name, as in "float [?, 20]".
func (t Tensor) String() string {
	if t.Kind != kindTensor {
		return t.Kind
	}
	dims := make([]string, len(t.Shape))
	for i, d := range t.Shape {
		dims[i] = "?"
		if d >= 0 {
			dims[i] = strconv.FormatInt(d, 10)
		}
	}
	return t.Type + " [" + strings.Join(dims, ", ") + "]"
}

// maxElements bounds the values of one tensor in one run of a graph that insists on its rows,
// and maxWidth its columns: what a graph declares is a claim, and memory is made for it.
const (
	maxElements = 1 << 26
	maxWidth    = 1 << 20
)

// fits tells whether memory for the declared rows and columns may be made.
func (t Tensor) fits() bool {
	n := int64(1)
	for i, d := range t.Shape {
		switch {
		case d <= 0: // open, or as good as absent
		case d > maxElements, i > 0 && d > maxWidth:
			return false
		default:
			if n *= d; n > maxElements {
				return false
			}
		}
	}
	return true
}

// batch returns the fixed number of rows, 0 if it is open.
func (t Tensor) batch() int {
	if len(t.Shape) == 0 || t.Shape[0] < 1 {
		return 0
	}
	return int(t.Shape[0])
}

// width returns the number of columns, 0 if it is open. Dimensions after the second are
// columns too, row by row.
func (t Tensor) width() int {
	if len(t.Shape) == 0 {
		return 0
	}
	n := int64(1)
	for _, d := range t.Shape[1:] {
		if n *= max(d, 0); n > maxWidth {
			return 0
		}
	}
	return int(n)
}

// converts tells why millrace cannot convert the tensor's elements, if it cannot.
func (t Tensor) converts() error {
	switch {
	case t.Kind == "sequence" || t.Kind == "map":
		return fmt.Errorf("%q is a %s, not a tensor, and not the end of a ZipMap or a SequenceConstruct: export the graph with a tensor "+
			"in its place (skl2onnx: options={'zipmap': False}; onnxmltools: zipmap=False)", t.Name, t.Kind)
	case t.Kind != kindTensor:
		return fmt.Errorf("%q is a %s, not a tensor: export the graph with a tensor in its place", t.Name, t.Kind)
	case !slices.Contains(elements, t.element()):
		return fmt.Errorf("%q is %s; millrace converts %s, %s: export the graph with a Cast to float", t.Name, t,
			strings.Join(elements, ", "), strings.Join(slices.Sorted(maps.Keys(wide)), ", "))
	}
	return nil
}

// readable tells why millrace cannot fill the tensor, if it cannot.
func (t Tensor) readable() error {
	if t.Kind == "sequence" || t.Kind == "map" {
		return fmt.Errorf("%q is a %s, not a tensor: export the graph with a tensor for each of its fields", t.Name, t.Kind)
	}
	if err := t.converts(); err != nil {
		return err
	}
	if !t.fits() {
		return fmt.Errorf("%q is %s: more than %d columns, or %d values in one run; export the graph with rows left open", t.Name, t, maxWidth, maxElements)
	}
	if len(t.Shape) > 2 && t.width() == 0 {
		return fmt.Errorf("%q is %s: only the first dimension, the rows, may be open; export the graph with the others fixed", t.Name, t)
	}
	return nil
}

// scalar says that an output is one value, however many rows there are.
func (t Tensor) scalar() error {
	return fmt.Errorf("%q is one %s for all rows of a run, not one for each", t.Name, t.Type)
}

// agrees tells whether the shape that was found fits what the graph declares.
func (t Tensor) agrees(found []int64) bool {
	if len(t.Shape) == 0 { // it says nothing, or a scalar
		return len(found) == 0
	}
	if len(t.Shape) != len(found) {
		return false
	}
	for d, n := range t.Shape {
		if n >= 0 && n != found[d] {
			return false
		}
	}
	return true
}

// perRow tells why an output whose shape was found out is not one row for each row of the
// inputs, if it is not. batch is the number of rows that the graph insists on, 0 if any.
func (t Tensor) perRow(batch int) error {
	switch {
	case len(t.Shape) == 0, batch == 0 && t.Shape[0] != -1, batch > 0 && t.Shape[0] != int64(batch):
		return fmt.Errorf("%q is %s, which is not one row for each row of the inputs", t.Name, t)
	case t.width() == 0:
		return fmt.Errorf("%q is %s: its number of columns is not fixed", t.Name, t)
	}
	return nil
}

// find returns the tensor of that name.
func find(tensors []Tensor, name string) (Tensor, bool) {
	i := slices.IndexFunc(tensors, func(t Tensor) bool { return t.Name == name })
	if i < 0 {
		return Tensor{}, false
	}
	return tensors[i], true
}

// names lists tensors for an error.
func names(tensors []Tensor) string {
	quoted := make([]string, len(tensors))
	for i, t := range tensors {
		quoted[i] = strconv.Quote(t.Name)
	}
	return strings.Join(quoted, ", ")
}
