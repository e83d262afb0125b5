package inference

import (
	"context"
	"fmt"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/memory"
)

// Rows makes a batch of the features, as a request batch holds them, of one column for each
// feature in the manifest's order, in any type that Cast takes. A feature that is missing has
// its default; one that has none, and is not optional, is an error. The caller releases the batch.
func (m *Model) Rows(ctx context.Context, columns []arrow.Array, alloc memory.Allocator) (arrow.Record, error) {
	b := m.newFeatureBuilder(alloc)
	defer b.Release()
	want := m.Manifest.SampleSchema()
	for c := range m.Manifest.Features {
		f := &m.Manifest.Features[c]
		col, err := Cast(ctx, columns[c], want.Field(c).Type, alloc)
		if err != nil {
			return nil, fmt.Errorf("feature %q: %w", f.Name, err)
		}
		err = appendFeature(b.Field(c), f, col, col.Len())
		col.Release()
		if err != nil {
			return nil, err
		}
	}
	return b.NewRecord(), nil
}
