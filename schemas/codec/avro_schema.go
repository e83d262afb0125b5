package codec

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/avro"

	"github.com/millrace/millrace/schemas"
)

// avroKind is how a value of Avro is written.
type avroKind uint8

const (
	avroNull avroKind = iota
	avroBoolean
	avroInt
	avroLong
	avroFloat
	avroDouble
	avroBytes
	avroString
	avroFixed
	avroEnum
	avroRecord
	avroArray
	avroMap
	avroUnion
)

var avroPrimitives = map[string]avroKind{
	"null": avroNull, "boolean": avroBoolean, "int": avroInt, "long": avroLong, "float": avroFloat,
	"double": avroDouble, "bytes": avroBytes, "string": avroString,
}

// avroType is one type of a writer's schema. Types that contain themselves are cycles of pointers.
type avroType struct {
	kind     avroKind
	logical  string
	size     int         // fixed
	symbols  [][]byte    // enum
	inner    []*avroType // fields of a record, branches of a union, items of an array, values of a map
	names    []string    // of a record's fields; their aliases say what a reader calls them, and this is the writer's
	zeroSize bool        // values take no bytes at all
	as       shape       // what values are to the field that they fill; shapeNone if it cannot hold them
}

// parseAvro reads a schema and everything that it refers to.
func parseAvro(s Schema) (*avroType, error) {
	var cache avro.SchemaCache
	seen := map[string]bool{} // by text: under whatever name and version, it defines the same types
	var refer func(refs []Reference) error
	refer = func(refs []Reference) error {
		for _, r := range refs {
			if seen[r.Schema.Text] { // with all that it refers to, or a diamond's ways would double with each level
				continue
			}
			seen[r.Schema.Text] = true
			if err := refer(r.Schema.References); err != nil {
				return err
			}
			if _, err := cache.Parse(r.Schema.Text); err != nil {
				return fmt.Errorf("reference %s: %w", r.Name, err)
			}
		}
		return nil
	}
	if err := refer(s.References); err != nil {
		return nil, err
	}
	parsed, err := cache.Parse(s.Text)
	if err != nil {
		return nil, err
	}
	c := avroCompiler{named: map[string]*avroType{}}
	return c.compile(parsed.Root())
}

// avroCompiler turns parsed schemas into types.
type avroCompiler struct {
	named map[string]*avroType // by full name
}

func (c avroCompiler) compile(n *avro.SchemaNode) (*avroType, error) {
	if kind, ok := avroPrimitives[n.Type]; ok {
		return &avroType{kind: kind, logical: n.LogicalType, zeroSize: kind == avroNull}, nil
	}
	t := &avroType{logical: n.LogicalType}
	inner := n.Branches
	switch n.Type {
	case "record", "error", "enum", "fixed":
		name := n.Namespace + "." + n.Name
		if known, ok := c.named[name]; ok {
			return known, nil
		}
		c.named[name] = t
	case "array":
		t.kind, inner = avroArray, []avro.SchemaNode{*n.Items}
	case "map":
		t.kind, inner = avroMap, []avro.SchemaNode{*n.Values}
	case "union":
		t.kind = avroUnion
	default: // a name
		definition, err := n.Schema()
		if err != nil {
			return nil, err
		}
		return c.compile(definition.Root())
	}
	switch n.Type {
	case "enum":
		t.kind = avroEnum
		for _, s := range n.Symbols {
			t.symbols = append(t.symbols, []byte(s))
		}
	case "fixed":
		t.kind, t.size, t.zeroSize = avroFixed, n.Size, n.Size == 0
	case "record", "error":
		t.kind, inner = avroRecord, nil
		for i := range n.Fields {
			t.names = append(t.names, n.Fields[i].Name)
			inner = append(inner, n.Fields[i].Type)
		}
	}
	// A record within itself is not zeroSize while it is compiled, and never turns out to be: on
	// the way is a union, an array or a map, which takes bytes, or it has no values.
	zeroSize := t.kind == avroRecord
	for i := range inner {
		of, err := c.compile(&inner[i])
		if err != nil {
			return nil, err
		}
		t.inner = append(t.inner, of)
		zeroSize = zeroSize && of.zeroSize
	}
	t.zeroSize = t.zeroSize || zeroSize
	return t, nil
}

// String names the type in reasons.
func (t *avroType) String() string {
	text := [...]string{
		"null", "a boolean", "an int", "a long", "a float", "a double", "bytes", "a string",
		"a fixed", "an enum", "a record", "an array", "a map", "a union",
	}[t.kind]
	if t.logical != "" {
		text += " (" + t.logical + ")"
	}
	return text
}

// timeUnit returns how many of a timestamp type's units make a second, 0 for other types.
func (t *avroType) timeUnit() int64 {
	if t.kind == avroLong {
		switch t.logical {
		case "timestamp-millis":
			return 1e3
		case "timestamp-micros":
			return 1e6
		case "timestamp-nanos":
			return 1e9
		}
	}
	return 0
}

// shape returns what values of the type are to a field of that role.
func (t *avroType) shape(r role) shape {
	switch t.kind {
	case avroBoolean:
		return shapeBool
	case avroInt, avroLong:
		switch {
		case r != roleEventTime || t.logical == "":
			return shapeInt
		case t.timeUnit() > 0:
			return shapeTime
		default: // a date, a time of day, a time without a zone
			return shapeNone
		}
	case avroFloat, avroDouble:
		return shapeFloat
	case avroString, avroEnum:
		return shapeText
	case avroBytes, avroFixed:
		if t.logical == "" { // else a decimal, a duration, a UUID in binary
			return shapeText
		}
		return shapeNone
	default:
		return shapeNone
	}
}

// avroPlan reads requests of one writer's schema.
type avroPlan struct {
	steps []avroStep
	enums int // bytes of the longest symbols that the features' enums can put in a row
}

// avroStep reads one field of the writer's record.
type avroStep struct {
	typ   *avroType
	field int // -1: nothing wants it
}

// planAvro plans how requests of a writer's schema fill the fields of b.
func planAvro(_ context.Context, b *rowBuilder, s Schema) (rowPlan, error) {
	t, err := parseAvro(s)
	if err != nil {
		return nil, err
	}
	if t.kind != avroRecord {
		return nil, schemas.Errorf(schemas.ErrorClassWrongType, "it is %s; a record is expected", t)
	}
	p := &avroPlan{}
	for _, of := range t.inner {
		p.steps = append(p.steps, avroStep{typ: of, field: -1})
	}
	for i := range b.fields {
		at := slices.Index(t.names, b.fields[i].plain)
		if at < 0 {
			continue
		}
		of, err := b.fitAvro(i, t.inner[at])
		if err != nil {
			return nil, err
		}
		p.steps[at] = avroStep{typ: of, field: i}
		p.enums += longestSymbol(of)
	}
	has := func(i int) bool { return slices.ContainsFunc(p.steps, func(s avroStep) bool { return s.field == i }) }
	if fault := b.checkFields(has); fault != nil {
		return nil, fault
	}
	return p, nil
}

// fitAvro returns the type as it fills a field, or says why no value of it ever could. A
// union fits with one of its branches.
func (b *rowBuilder) fitAvro(i int, t *avroType) (*avroType, error) {
	f := &b.fields[i]
	own := *t
	switch t.kind {
	case avroUnion:
		var refused error
		fit := false
		own.inner = make([]*avroType, len(t.inner))
		for at, branch := range t.inner {
			of, err := b.fitAvro(i, branch)
			switch {
			case branch.kind == avroNull && len(t.inner) > 1: // says nothing about the others
			case err != nil:
				refused = err
			default:
				fit = true
			}
			own.inner[at] = of
		}
		if !fit {
			return &own, refused
		}
		return &own, nil
	case avroNull:
		if !f.hasDef && f.role != roleRequestID {
			return &own, schemas.Errorf(schemas.ErrorClassMissingFeature, "%q is always null in the schema and has no default", f.name)
		}
		return &own, nil
	default:
		s := t.shape(f.role)
		want, ok := b.fits(i, s)
		if !ok {
			return &own, schemas.Errorf(schemas.ErrorClassWrongType, "%q must be %s; the schema says %s", f.name, want, t)
		}
		own.as = s
		return &own, nil
	}
}

func longestSymbol(t *avroType) int {
	longest := 0
	switch t.kind {
	case avroEnum:
		for _, s := range t.symbols {
			longest = max(longest, len(s))
		}
	case avroUnion:
		for _, branch := range t.inner {
			longest = max(longest, longestSymbol(branch))
		}
	default:
	}
	return longest
}
