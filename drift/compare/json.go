package compare

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// WriteJSON writes a comparison as one JSON document with a line break behind it: indented
// for people, or on one line. Numbers have all digits that they need to be read back equal;
// lists that the schema always has are [] where they are empty.
func WriteJSON(w io.Writer, r *Result, indent bool) error {
	out := *r
	out.Columns = withLists(r.Columns)
	out.Segments = slices.Clone(r.Segments)
	for i := range out.Segments {
		out.Segments[i].Columns = withLists(out.Segments[i].Columns)
	}
	out.Multivariate = slices.Clone(r.Multivariate)
	for i := range out.Multivariate {
		m := &out.Multivariate[i]
		m.Columns, m.Contributions = list(m.Columns), list(m.Contributions)
	}
	if r.Quality != nil {
		q := *r.Quality
		q.Metrics = list(q.Metrics)
		out.Quality = &q
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if indent {
		e.SetIndent("", "  ")
	}
	if err := e.Encode(out); err != nil {
		return fmt.Errorf("write the comparison of %s and %s as JSON: %w", r.Reference.Name, r.Current.Name, err)
	}
	return nil
}

// withLists copies columns.
func withLists(columns []Column) []Column {
	out := append([]Column{}, columns...)
	for i := range out {
		b := &out[i].Bins
		b.Reference, b.Current = list(b.Reference), list(b.Current)
	}
	return out
}

func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
