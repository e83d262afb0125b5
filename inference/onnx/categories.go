package onnx

import (
	"encoding/binary"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/millrace/millrace/schemas"
)

// graphColumn is a column of an input.
type graphColumn struct {
	input  string
	column int
}

// knownCategories returns the values that a graph knows of columns of its string inputs: those of
// the encoder that a column goes to, in the encoder's order. An encoder may refuse all others.
func (p *graphParts) knownCategories() map[graphColumn][]string {
	known := map[graphColumn][]string{}
	columns := map[string][]graphColumn{} // of a value that is made of nothing but such columns
	for _, v := range p.inputs {
		if v.element != protoString || v.sequence || v.width() > maxFeatures {
			continue
		}
		for c := range v.width() {
			columns[v.name] = append(columns[v.name], graphColumn{v.name, c})
		}
	}
	for i := range p.nodes {
		n := &p.nodes[i]
		if len(n.inputs) == 0 || len(n.outputs) == 0 || columns[n.inputs[0]] == nil {
			continue
		}
		of := columns[n.inputs[0]]
		switch n.op {
		case opIdentity:
			columns[n.outputs[0]] = of
		case "Reshape", "Flatten", "Squeeze", "Unsqueeze":
			if len(of) == 1 {
				columns[n.outputs[0]] = of
			}
		case "Concat":
			var all []graphColumn
			for _, in := range n.inputs {
				if columns[in] == nil || len(all) > maxFeatures {
					all = nil
					break
				}
				all = append(all, columns[in]...)
			}
			columns[n.outputs[0]] = all
		case "ArrayFeatureExtractor", "Gather":
			if n.op == "Gather" && n.axis != 1 {
				continue
			}
			var picked []graphColumn
			for _, k := range p.integers[n.inputs[len(n.inputs)-1]] {
				if k >= 0 && k < int64(len(of)) {
					picked = append(picked, of[k])
				}
			}
			columns[n.outputs[0]] = picked
		case "OneHotEncoder", "LabelEncoder":
			for _, c := range of {
				if known[c] == nil && fitCategories(n.known) {
					known[c] = n.known
				}
			}
		}
	}
	return known
}

// fitCategories tells whether a manifest can list the values.
func fitCategories(values []string) bool {
	const most = 1000
	size := 0
	seen := map[string]bool{}
	for _, v := range values {
		size += len(v)
		if seen[v] {
			return false
		}
		seen[v] = true
	}
	return len(values) > 0 && len(values) <= most && size <= schemas.MaxCategoryBytes/10
}

// width returns the columns of a tensor by the shape that the graph declares, 0 where it does not.
func (v *valuePart) width() int {
	const dimValue = 1
	var dims []int64
	fields(v.shape, func(_ int, _, shape []byte, _ uint64) bool { // the one field, with its tag
		return fields(shape, func(_ int, _, dim []byte, _ uint64) bool {
			size := int64(-1)
			fields(dim, func(number int, _, _ []byte, n uint64) bool {
				if number == dimValue {
					size = int64(n)
				}
				return true
			})
			dims = append(dims, size)
			return true
		})
	})
	return Tensor{Shape: dims}.width()
}

// readInitializer returns name and element type of a tensor, and its values if it is a small one
// of int64.
func readInitializer(text []byte) (name string, element uint64, values []int64) {
	const tensorType, tensorInt64s, tensorRaw, most = 2, 7, 9, 1000
	fields(text, func(number int, _, value []byte, n uint64) bool {
		switch {
		case number == tensorName:
			name = string(value)
		case number == tensorType:
			element = n
		case number == tensorInt64s && value != nil && len(value) <= most:
			for len(value) > 0 {
				v, m := protowire.ConsumeVarint(value)
				if m < 0 {
					return false
				}
				values, value = append(values, int64(v)), value[m:]
			}
		case number == tensorInt64s && value == nil && len(values) < most:
			values = append(values, int64(n))
		case number == tensorRaw && len(value) <= 8*most:
			for chunk := range slices.Chunk(value, 8) {
				if len(chunk) == 8 {
					values = append(values, int64(binary.LittleEndian.Uint64(chunk)))
				}
			}
		}
		return true
	})
	if element != protoInt64 {
		values = nil
	}
	return name, element, values
}
