package compare_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/compare"
)

var updateJSON = flag.Bool("update-json", false, "write testdata/comparison.json")

type schema struct {
	Ref         string            `json:"$ref"`
	Description string            `json:"description"`
	Type        any               `json:"type"`
	Enum        []string          `json:"enum"`
	Properties  map[string]schema `json:"properties"`
	Required    []string          `json:"required"`
	Additional  json.RawMessage   `json:"additionalProperties"`
	Items       *schema           `json:"items"`
	MinItems    *int              `json:"minItems"`
	MaxItems    *int              `json:"maxItems"`
	Minimum     *float64          `json:"minimum"`
	Maximum     *float64          `json:"maximum"`
	Definitions map[string]schema `json:"$defs"`
}

func readSchema(t *testing.T) schema {
	t.Helper()
	b, err := os.ReadFile("schema.json")
	require.NoError(t, err)
	var s schema
	require.NoError(t, json.Unmarshal(b, &s))
	return s
}

// check validates a document by the keywords that schema.json uses.
func (s schema) check(root schema, v any, at string) error {
	if s.Ref != "" {
		return root.Definitions[strings.TrimPrefix(s.Ref, "#/$defs/")].check(root, v, at)
	}
	is := map[string]bool{}
	switch x := v.(type) {
	case nil:
		is["null"] = true
	case bool:
		is["boolean"] = true
	case string:
		is["string"] = true
		if s.Enum != nil && !slices.Contains(s.Enum, x) {
			return fmt.Errorf("%s: %q is none of %v", at, x, s.Enum)
		}
	case float64:
		is["number"], is["integer"] = true, x == math.Trunc(x)
		if s.Minimum != nil && x < *s.Minimum || s.Maximum != nil && x > *s.Maximum {
			return fmt.Errorf("%s: %v is out of bounds", at, x)
		}
	case []any:
		is["array"] = true
		if s.MinItems != nil && len(x) < *s.MinItems || s.MaxItems != nil && len(x) > *s.MaxItems {
			return fmt.Errorf("%s: %d items", at, len(x))
		}
		for i, item := range x {
			if err := s.Items.check(root, item, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	case map[string]any:
		is["object"] = true
		for _, name := range s.Required {
			if _, ok := x[name]; !ok {
				return fmt.Errorf("%s: no %s", at, name)
			}
		}
		for name, value := range x {
			of, ok := s.Properties[name]
			if !ok {
				if err := json.Unmarshal(s.Additional, &of); err != nil { // false is no schema
					return fmt.Errorf("%s: %s is not in the schema", at, name)
				}
			}
			if err := of.check(root, value, at+"."+name); err != nil {
				return err
			}
		}
	}
	types, ok := s.Type.([]any)
	if !ok {
		types = []any{s.Type}
	}
	for _, name := range types {
		if is[name.(string)] {
			return nil
		}
	}
	return fmt.Errorf("%s: %v is no %v", at, v, s.Type)
}

// TestSchemaHasEveryField: what Result can hold is what the schema has, and described.
func TestSchemaHasEveryField(t *testing.T) {
	root := readSchema(t)
	var walk func(of reflect.Type, s schema, at string)
	walk = func(of reflect.Type, s schema, at string) {
		for s.Ref != "" {
			s = root.Definitions[strings.TrimPrefix(s.Ref, "#/$defs/")]
		}
		switch of.Kind() {
		case reflect.Pointer:
			walk(of.Elem(), s, at)
		case reflect.Slice:
			require.NotNil(t, s.Items, at)
			walk(of.Elem(), *s.Items, at+"[]")
		case reflect.Map:
			var items schema
			require.NoError(t, json.Unmarshal(s.Additional, &items), at)
			walk(of.Elem(), items, at+"{}")
		case reflect.Struct:
			require.Equal(t, "false", string(s.Additional), at)
			exported := slices.DeleteFunc(slices.Collect(of.Fields()), func(f reflect.StructField) bool { return !f.IsExported() })
			require.Len(t, s.Properties, len(exported), at)
			for _, field := range exported {
				name, rest, _ := strings.Cut(field.Tag.Get("json"), ",")
				property, ok := s.Properties[name]
				require.True(t, ok, "%s.%s", at, name)
				require.True(t, property.Description != "" || property.Ref != "" || !strings.Contains(rest, "omitempty"), "%s.%s has no description", at, name)
				require.Equal(t, rest == "", slices.Contains(s.Required, name), "%s.%s is required where it is never left out", at, name)
				walk(field.Type, property, at+"."+name)
			}
		default:
		}
	}
	walk(reflect.TypeFor[compare.Result](), root, "result")
}

// TestJSONOfAComparison: the whole document of a small comparison with everything that one
// can have, and the schema that it keeps.
func TestJSONOfAComparison(t *testing.T) {
	n := 60
	var x, y, twin, p, q []float64
	var late, later []int64
	var letter, letters2, region, when []string
	for i := range n {
		f := float64(i)
		x, y = append(x, f/4), append(y, f/2)
		late, later = append(late, int64(i%2)), append(later, int64(i%3%2))
		p, q = append(p, f/64), append(q, float64(i%2)/2+0.25)
		letter, letters2 = append(letter, string(rune('a'+i%4))), append(letters2, string(rune('b'+i%4)))
		region = append(region, []string{"north", "south"}[i/30])
		when = append(when, fmt.Sprintf("day %d", i))
	}
	y[3], y[4] = math.NaN(), math.Inf(1)
	twin = slices.Clone(x)
	reference := newTable(t, "reference.csv", namedColumn{"x", x}, namedColumn{"twin", twin}, namedColumn{"letter", letter}, namedColumn{"region", region}, namedColumn{"late", late}, namedColumn{"p", p}, namedColumn{"when", when}, namedColumn{"one", slices.Repeat([]float64{1}, n)})
	current := newTable(t, "current.csv", namedColumn{"x", y}, namedColumn{"twin", y}, namedColumn{"letter", letters2}, namedColumn{"region", region}, namedColumn{"late", later}, namedColumn{"p", q}, namedColumn{"when", when}, namedColumn{"one", append([]float64{2}, slices.Repeat([]float64{math.NaN()}, n-1)...)})
	r := run(t, reference, current, compare.Options{
		Tests: []string{"twin=psi"}, AllTests: true, Correction: "bh",
		Segment: "region", Target: "late", Prediction: "p", Seed: 4,
	})
	var out bytes.Buffer
	require.NoError(t, compare.WriteJSON(&out, r, true))
	const path = "testdata/comparison.json"
	if *updateJSON {
		require.NoError(t, os.WriteFile(path, out.Bytes(), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "go test -run TestJSONOfAComparison -update-json makes it")
	// Last digits may differ between machines that fuse a product and a sum, and others.
	var a, b any
	require.NoError(t, json.Unmarshal(want, &a))
	require.NoError(t, json.Unmarshal(out.Bytes(), &b))
	requireAlike(t, a, b, "")
	require.NoError(t, readSchema(t).check(readSchema(t), b, "comparison"))

	// And what a comparison can hold besides.
	out.Reset()
	require.NoError(t, compare.WriteJSON(&out, example(), false))
	require.NoError(t, json.Unmarshal(out.Bytes(), &b))
	b.(map[string]any)["dataset"].(map[string]any)["correction"] = "bh"
	require.NoError(t, readSchema(t).check(readSchema(t), b, "example"))
	b.(map[string]any)["speed"] = 1.0
	require.EqualError(t, readSchema(t).check(readSchema(t), b, "example"), "example: speed is not in the schema")
}

func requireAlike(t *testing.T, want, got any, at string) {
	t.Helper()
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		require.True(t, ok, at)
		require.Len(t, g, len(w), at)
		for name := range w {
			requireAlike(t, w[name], g[name], at+"."+name)
		}
	case []any:
		g, ok := got.([]any)
		require.True(t, ok, at)
		require.Len(t, g, len(w), at)
		for i := range w {
			requireAlike(t, w[i], g[i], fmt.Sprintf("%s[%d]", at, i))
		}
	case float64:
		g, ok := got.(float64)
		require.True(t, ok, at)
		require.InDelta(t, w, g, 1e-9*math.Abs(w)+1e-12, at)
	default:
		require.Equal(t, want, got, at)
	}
}
