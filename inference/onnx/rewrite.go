package onnx

import (
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// More fields of onnx.proto3: what a graph takes and gives, and how.
const (
	graphInput, graphOutput, graphValueInfo         = 11, 12, 13
	tensorName                                      = 8
	nodeInput, nodeOutput, nodeOp, nodeDomain       = 1, 2, 4, 7
	attributeName, attributeInt, attributeType      = 1, 3, 20
	attributeStringsList, attributeIntsList         = 9, 8
	attributeTypeInt                                = 2
	valueName, valueType                            = 1, 2
	typeTensor, typeSequence, typeMap               = 1, 4, 5
	typeElement, typeShape                          = 1, 2
	protoFloat, protoInt32, protoInt64, protoString = 1, 6, 7, 8
	maxRewritten                                    = 1 << 30 // bytes of a graph that is held in memory
	maxClasses                                      = 1 << 16
	rewrittenInput, rewrittenOutput                 = "millrace:in:", "millrace:out:"
	opZipMap, opIdentity, opSequence, domainML      = "ZipMap", "Identity", "SequenceConstruct", "ai.onnx.ml"
	maxIdentities                                   = 16
	sequenceAxis                                    = 1
)

// wide says what an element type that no Go slice holds, or that the columns of a batch do not
// have, is converted to inside the graph, with the numbers of onnx.proto3.
var wide = map[string]struct {
	proto     uint64 // of the type itself
	as        string
	asProto   uint64
	low, high float64 // what the type holds, and rounds to a finite number
}{
	"float16":  {10, elementFloat, protoFloat, -65519.99, 65519.99},
	"bfloat16": {16, elementFloat, protoFloat, -3.38953139e38, 3.38953139e38},
	"uint8":    {2, elementInt32, protoInt32, 0, 1<<8 - 1},
	"int8":     {3, elementInt32, protoInt32, -1 << 7, 1<<7 - 1},
	"uint16":   {4, elementInt32, protoInt32, 0, 1<<16 - 1},
	"int16":    {5, elementInt32, protoInt32, -1 << 15, 1<<15 - 1},
	"uint32":   {12, elementInt64, protoInt64, 0, 1<<32 - 1},
	"uint64":   {13, elementInt64, protoInt64, 0, 1 << 63},
}

// wideOf returns the name of the type of that number, "" where it is not converted.
func wideOf(proto uint64) string {
	for name, w := range wide {
		if w.proto == proto {
			return name
		}
	}
	return ""
}

// rewriting is a graph in which inputs and outputs that cannot be filled or read stand as
// tensors that can: narrow elements behind a Cast, the input of a ZipMap in place of its maps,
// the tensors of a sequence side by side. The graph computes what it did.
type rewriting struct {
	text            []byte // the whole model; nil where the file is taken as it is
	inputs, outputs map[string]replacement
	known           map[graphColumn][]string // what the graph knows of columns of string inputs
	half            bool                     // it computes with floats of 16 bits
	divides         bool                     // it may divide whole numbers; see tensor.outside
}

// replacement is what stands for an input or an output.
type replacement struct {
	element string   // its ONNX name; empty where it stays
	classes []string // of the columns, where a ZipMap names them
}

// graphParts is what the rewriting looks at in a GraphProto.
type graphParts struct {
	nodes           []graphNodePart
	inputs, outputs []valuePart
	initialized     map[string]bool
	integers        map[string][]int64 // small ones of the initializers
	half            bool               // an input, output or initializer is of 16-bit floats
	rest            [][]byte           // all other fields, as they are
	values          []valuePart
}

type graphNodePart struct {
	raw             []byte // the field, with its tag
	inputs, outputs []string
	op, domain      string
	classes         []string // of a ZipMap
	known           []string // of an encoder
	axis            int64
}

type valuePart struct {
	raw      []byte
	name     string
	element  uint64 // of a tensor, or of the tensors of a sequence
	shape    []byte // the field of a tensor's shape, with its tag
	sequence bool
	maps     bool // a sequence of maps
}

// fields calls each with the fields of a message; false ends it. It tells whether all of them
// could be read.
func fields(text []byte, each func(number int, raw, value []byte, n uint64) bool) bool {
	for len(text) > 0 {
		number, kind, n := protowire.ConsumeTag(text)
		if n < 0 {
			return false
		}
		m := protowire.ConsumeFieldValue(number, kind, text[n:])
		if m < 0 {
			return false
		}
		raw := text[:n+m]
		var value []byte
		var v uint64
		switch kind { //nolint:exhaustive // nothing else is looked at
		case protowire.BytesType:
			value, _ = protowire.ConsumeBytes(text[n:])
		case protowire.VarintType:
			v, _ = protowire.ConsumeVarint(text[n:])
		}
		if !each(int(number), raw, value, v) {
			return false
		}
		text = text[n+m:]
	}
	return true
}

// rewrite reads a graph and rewrites it where something needs it. What it cannot read it leaves
// to the runtime. shapes are those of outputs that the graph does not declare so, or does not give
// with every number of rows: what is given is reshaped to them. nil reshapes nothing.
func rewrite(path string, shapes map[string][]int64) (*rewriting, error) {
	none := &rewriting{}
	text, unmap, err := mapGraph(path)
	if err != nil {
		return nil, err
	}
	defer unmap()
	if len(text) > maxRewritten {
		return none, nil
	}
	var around [2][][]byte // fields before the graph and after it
	var graph []byte
	graphs := 0
	ok := fields(text, func(number int, raw, value []byte, _ uint64) bool {
		if number == modelGraph {
			graph = value
			graphs++
		} else {
			around[min(graphs, 1)] = append(around[min(graphs, 1)], raw)
		}
		return true
	})
	if !ok || graphs != 1 {
		return none, nil
	}
	parts, ok := readParts(graph)
	if !ok {
		return none, nil
	}
	r := &rewriting{inputs: map[string]replacement{}, outputs: map[string]replacement{}}
	r.known, r.half = parts.knownCategories(), parts.half
	r.divides = slices.ContainsFunc(parts.nodes, func(n graphNodePart) bool { return n.op == "Div" })
	rewritten := parts.rewrite(r, shapes)
	if rewritten == nil {
		return r, nil
	}
	r.text = slices.Concat(around[0]...)
	r.text = appendMessage(r.text, modelGraph, rewritten)
	r.text = append(r.text, slices.Concat(around[1]...)...)
	return r, nil
}

func readParts(graph []byte) (p graphParts, ok bool) {
	p.initialized, p.integers = map[string]bool{}, map[string][]int64{}
	good := true
	ok = fields(graph, func(number int, raw, value []byte, _ uint64) bool {
		switch number {
		case graphNode:
			n := readNode(value)
			n.raw = raw
			p.nodes = append(p.nodes, n)
			return true
		case graphInput, graphOutput, graphValueInfo:
			v, readable := readValue(value)
			v.raw = raw
			good = good && readable
			p.half = p.half || isHalf(v.element)
			switch number {
			case graphInput:
				p.inputs = append(p.inputs, v)
			case graphOutput:
				p.outputs = append(p.outputs, v)
			default:
				p.values = append(p.values, v)
			}
			return true
		case graphInitializer:
			name, element, values := readInitializer(value)
			p.half = p.half || isHalf(element)
			p.initialized[name] = true
			if values != nil {
				p.integers[name] = values
			}
		}
		p.rest = append(p.rest, raw)
		return true
	})
	return p, ok && good
}

func readNode(text []byte) (n graphNodePart) {
	fields(text, func(number int, _, value []byte, _ uint64) bool {
		switch number {
		case nodeInput:
			n.inputs = append(n.inputs, string(value))
		case nodeOutput:
			n.outputs = append(n.outputs, string(value))
		case nodeOp:
			n.op = string(value)
		case nodeDomain:
			n.domain = string(value)
		case nodeAttribute:
			switch name, list, i := readAttribute(value); name {
			case "axis":
				n.axis = i
			case "classlabels_strings", "classlabels_int64s":
				n.classes = list
			case "cats_strings", "keys_strings":
				n.known = list
			}
		}
		return true
	})
	return n
}

// readAttribute returns the name of an attribute, and of those that are looked at the texts that it
// lists, or its integer. Listed numbers are written as text.
func readAttribute(text []byte) (name string, list []string, integer int64) {
	fields(text, func(number int, _, value []byte, n uint64) bool {
		switch {
		case number == attributeName:
			name = string(value)
			return slices.Contains(attributes, name)
		case number == attributeInt:
			integer = int64(n)
		case len(list) == maxClasses:
			return false
		case number == attributeStringsList:
			list = append(list, string(value))
		case number == attributeIntsList && value != nil: // packed
			for len(value) > 0 {
				v, m := protowire.ConsumeVarint(value)
				if m < 0 || len(list) == maxClasses {
					return false
				}
				list, value = append(list, strconv.FormatInt(int64(v), 10)), value[m:]
			}
		case number == attributeIntsList:
			list = append(list, strconv.FormatInt(int64(n), 10))
		}
		return true
	})
	return name, list, integer
}

var attributes = []string{"axis", "classlabels_strings", "classlabels_int64s", "cats_strings", "keys_strings"}

func readValue(text []byte) (v valuePart, ok bool) {
	good := true
	tensorOf := func(text []byte, shape bool) {
		good = good && fields(text, func(number int, raw, _ []byte, n uint64) bool {
			switch number {
			case typeElement:
				v.element = n
			case typeShape:
				if shape {
					v.shape = raw
				}
			}
			return true
		})
	}
	ok = fields(text, func(number int, _, value []byte, _ uint64) bool {
		switch number {
		case valueName:
			v.name = string(value)
		case valueType:
			good = good && fields(value, func(number int, _, value []byte, _ uint64) bool {
				switch number {
				case typeTensor:
					tensorOf(value, true)
				case typeSequence:
					v.sequence = true
					fields(value, func(_ int, _, value []byte, _ uint64) bool { // its one field, a type
						return fields(value, func(number int, _, value []byte, _ uint64) bool {
							switch number {
							case typeTensor:
								tensorOf(value, false)
							case typeMap:
								v.maps = true
							}
							return true
						})
					})
				}
				return true
			})
		}
		return true
	})
	return v, ok && good
}

// rewrite returns the graph with its replacements, which it notes in r; nil where it needs none.
func (p *graphParts) rewrite(r *rewriting, shapes map[string][]int64) []byte {
	producer := map[string]int{}
	for i, n := range p.nodes {
		for _, o := range n.outputs {
			producer[o] = i
		}
	}
	dropped := map[int]bool{}
	drop := func(chain []int) {
		for _, i := range chain {
			dropped[i] = true
		}
	}
	var first, last, values []byte // nodes before and after all others, what the graph takes and gives
	takes := map[string]bool{}
	for _, v := range p.inputs {
		takes[v.name] = true
		w := wide[wideOf(v.element)]
		if v.sequence || w.as == "" || p.initialized[v.name] {
			values = append(values, v.raw...)
			continue
		}
		r.inputs[v.name] = replacement{element: wideOf(v.element)}
		first = appendNode(first, "Cast", []string{rewrittenInput + v.name}, v.name, "to", w.proto)
		values = appendValue(values, graphInput, rewrittenInput+v.name, w.asProto, v.shape)
	}
	for i, v := range p.outputs {
		if slices.ContainsFunc(p.outputs[:i], func(before valuePart) bool { return before.name == v.name }) {
			continue // a graph may give a value twice; once is enough
		}
		to := rewrittenOutput + v.name
		made, element := v.name, v.element // what is read in the end
		w := wide[wideOf(v.element)]
		from, chain := p.source(producer, v.name)
		instead := replacement{}
		switch {
		case !v.sequence && w.as != "":
			instead.element, element = wideOf(v.element), w.asProto
			// Without a node between, two casts would be taken for none, and nothing be rounded.
			last = appendNode(last, "Concat", []string{v.name}, to+":exact", "axis", 0)
			last = appendNode(last, "Cast", []string{to + ":exact"}, to+":wide", "to", w.asProto)
			made = to + ":wide"
		case v.maps && from != nil && from.op == opZipMap && from.domain == domainML && len(from.inputs) == 1:
			instead.element, instead.classes, element = elementFloat, from.classes, protoFloat
			made = from.inputs[0]
			drop(chain)
		case v.sequence && !v.maps && elementOf(v.element) != "" && from != nil && from.op == opSequence && from.domain == "" && len(from.inputs) > 0:
			instead.element = elementOf(v.element)
			last = appendNode(last, "Concat", from.inputs, to+":row", "axis", sequenceAxis)
			made = to + ":row"
			drop(chain)
		case !v.sequence && v.element != 0 && (shapes[v.name] != nil || takes[v.name] || p.initialized[v.name]):
			// The runtime would not write what it does not compute to the memory that is bound.
		default:
			values = append(values, v.raw...)
			continue
		}
		r.outputs[v.name] = instead
		if shape := shapes[v.name]; shape != nil {
			last = appendNode(last, "Reshape", []string{made, to + ":shape"}, to, "", 0)
			values = appendIntegers(values, to+":shape", shape)
			v.shape = nil
		} else {
			last = appendNode(last, opIdentity, []string{made}, to, "", 0)
		}
		values = appendValue(values, graphOutput, to, element, v.shape) // a sequence has none
	}
	if len(r.inputs) == 0 && len(r.outputs) == 0 {
		return nil
	}
	// A sequence that something else reads too must stay.
	for _, n := range p.nodes {
		for _, in := range n.inputs {
			if i, ok := producer[in]; ok && dropped[i] && n.op != opIdentity {
				dropped[i] = false
			}
		}
	}
	text := first
	for i, n := range p.nodes {
		if !dropped[i] {
			text = append(text, n.raw...)
		}
	}
	text = append(text, last...)
	text = append(text, slices.Concat(p.rest...)...)
	text = append(text, values...)
	for _, v := range p.values {
		if i, ok := producer[v.name]; !ok || !dropped[i] {
			text = append(text, v.raw...)
		}
	}
	return text
}

// source returns the node that makes a value, past the nodes that hand it on, and the nodes on
// the way with that one.
func (p *graphParts) source(producer map[string]int, name string) (from *graphNodePart, chain []int) {
	for range maxIdentities {
		i, ok := producer[name]
		if !ok {
			return nil, nil
		}
		chain = append(chain, i)
		if n := &p.nodes[i]; n.op != opIdentity || len(n.inputs) != 1 {
			return n, chain
		}
		name = p.nodes[i].inputs[0]
	}
	return nil, nil
}

// isHalf tells whether the type of that number is a float of 16 bits.
func isHalf(proto uint64) bool {
	return proto == wide["float16"].proto || proto == wide["bfloat16"].proto
}

// elementOf returns the name of an element type that is read as it is, "" for all others.
func elementOf(proto uint64) string {
	return map[uint64]string{protoFloat: elementFloat, protoInt32: elementInt32, protoInt64: elementInt64, 11: elementDouble}[proto]
}

func appendMessage(dst []byte, field protowire.Number, message []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, field, protowire.BytesType), message)
}

func appendVarint(dst []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, field, protowire.VarintType), v)
}

// appendNode appends a node of one output and at most one attribute, an integer.
func appendNode(dst []byte, op string, inputs []string, output, attribute string, value uint64) []byte {
	var n []byte
	for _, in := range inputs {
		n = appendMessage(n, nodeInput, []byte(in))
	}
	n = appendMessage(n, nodeOutput, []byte(output))
	n = appendMessage(n, nodeOp, []byte(op))
	if attribute != "" {
		var a []byte
		a = appendMessage(a, attributeName, []byte(attribute))
		a = appendVarint(a, attributeInt, value)
		a = appendVarint(a, attributeType, attributeTypeInt)
		n = appendMessage(n, nodeAttribute, a)
	}
	return appendMessage(dst, graphNode, n)
}

// appendValue appends an input or an output, a tensor. shape is its field, nil where it has none.
func appendValue(dst []byte, field protowire.Number, name string, element uint64, shape []byte) []byte {
	tensor := append(appendVarint(nil, typeElement, element), shape...)
	value := appendMessage(nil, valueName, []byte(name))
	value = appendMessage(value, valueType, appendMessage(nil, typeTensor, tensor))
	return appendMessage(dst, field, value)
}

// appendIntegers appends an initializer, a tensor of one dimension.
func appendIntegers(dst []byte, name string, values []int64) []byte {
	const tensorDims, tensorType, tensorInt64s = 1, 2, 7
	var t []byte
	t = appendVarint(t, tensorDims, uint64(len(values)))
	t = appendVarint(t, tensorType, protoInt64)
	for _, v := range values {
		t = appendVarint(t, tensorInt64s, uint64(v))
	}
	t = appendMessage(t, tensorName, []byte(name))
	return appendMessage(dst, graphInitializer, t)
}
