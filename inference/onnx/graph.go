package onnx

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Graph is what an ONNX graph takes and gives.
type Graph struct{ Inputs, Outputs []Tensor }

// Tensor is one input or output of a graph.
type Tensor struct {
	Name  string
	Kind  string  // "tensor"; of other values, which millrace cannot read, "sequence", "map", …
	Type  string  // element type by its ONNX name: float, double, int64, int32, bool, string, …
	Shape []int64 // -1 for a dimension that the graph leaves open; empty where it does not say
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

// width returns the number of columns, 0 if it is open.
func (t Tensor) width() int {
	switch {
	case len(t.Shape) == 1:
		return 1
	case len(t.Shape) == 2 && t.Shape[1] > 0:
		return int(t.Shape[1])
	default:
		return 0
	}
}

// readable tells why millrace cannot fill or read the tensor, if it cannot.
func (t Tensor) readable() error {
	switch {
	case t.Kind == "sequence" || t.Kind == "map":
		return fmt.Errorf("%q is a %s, not a tensor: convert the model again without ZipMap "+
			"(skl2onnx: options={'zipmap': False})", t.Name, t.Kind)
	case t.Kind != kindTensor:
		return fmt.Errorf("%q is a %s, not a tensor", t.Name, t.Kind)
	case !slices.Contains(elements, t.Type):
		return fmt.Errorf("%q is %s; millrace converts %s", t.Name, t, strings.Join(elements, ", "))
	case len(t.Shape) > 2:
		return fmt.Errorf("%q is %s; millrace knows [rows] and [rows, columns]", t.Name, t)
	case !t.fits():
		return fmt.Errorf("%q is %s: more than %d columns, or %d values in one run; export the graph with rows left open", t.Name, t, maxWidth, maxElements)
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
