package codec

import (
	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/millrace/millrace/schemas"
)

// dictionary maps strings to the indices of a dictionary column. The base entries are
// those of the manifest and keep their indices for ever; what else a batch brings is
// added behind them and forgotten with the batch.
type dictionary struct {
	alloc   memory.Allocator
	entries map[string]int32
	base    int
	added   []string
	bytes   int         // of added
	values  arrow.Array // the base entries, made once
}

func newDictionary(alloc memory.Allocator, base []string) *dictionary {
	d := &dictionary{alloc: alloc, entries: make(map[string]int32, len(base)), base: len(base)}
	b := array.NewStringBuilder(alloc)
	defer b.Release()
	for i, s := range base {
		d.entries[s] = int32(i)
		b.Append(s)
	}
	d.values = b.NewArray()
	return d
}

func (d *dictionary) release() { d.values.Release() }

// known tells whether the string is a base entry.
func (d *dictionary) known(s []byte) bool {
	i, ok := d.entries[string(s)]
	return ok && int(i) < d.base
}

func (d *dictionary) index(s []byte) int32 {
	if i, ok := d.entries[string(s)]; ok {
		return i
	}
	i := int32(d.base + len(d.added))
	own := string(s)
	d.entries[own] = i
	d.added = append(d.added, own)
	d.bytes += len(own)
	return i
}

// addedBytes returns the bytes of the entries that were added, of no dictionary 0.
func (d *dictionary) addedBytes() int {
	if d == nil {
		return 0
	}
	return d.bytes
}

// truncate forgets all but n of the entries that were added.
func (d *dictionary) truncate(n int) {
	for _, s := range d.added[n:] {
		delete(d.entries, s)
		d.bytes -= len(s)
	}
	clear(d.added[n:])
	d.added = d.added[:n]
}

// arrayOf gives out the indices as a dictionary array, and forgets the entries that were
// added for it.
func (d *dictionary) arrayOf(indices arrow.Array) arrow.Array {
	values := d.values
	values.Retain()
	if len(d.added) > 0 {
		values.Release()
		values = d.extended()
	}
	defer values.Release()
	return array.NewDictionaryArray(schemas.DictionaryType, indices, values)
}

// newArray is arrayOf the indices that were appended to a builder.
func (d *dictionary) newArray(indices array.Builder) arrow.Array {
	idx := indices.NewArray()
	defer idx.Release()
	return d.arrayOf(idx)
}

func (d *dictionary) extended() arrow.Array {
	b := array.NewStringBuilder(d.alloc)
	defer b.Release()
	base := d.values.(*array.String)
	b.Reserve(base.Len() + len(d.added))
	for i := range base.Len() {
		b.Append(base.Value(i))
	}
	for _, s := range d.added {
		b.Append(s)
	}
	d.truncate(0)
	return b.NewArray()
}
