package observe

import "github.com/millrace/millrace/schemas/arrowipc"

// Batch is a record batch of an observation record, to be read column by column. It is valid
// until the call that it was given to returns.
type Batch struct {
	*Schema
	Rows   int
	reader *Reader
}

// Batches calls visit with each record batch that has rows, in order, of a record that Read has
// accepted: s and messages are what it returned. Where visit returns an error, this ends with it;
// other errors wrap ErrMalformed.
func (r *Reader) Batches(s *Schema, messages []byte, visit func(*Batch) error) error {
	r.ipc.Resume(s.ipc, messages)
	r.known = -1
	for {
		rows, ok, err := r.ipc.Next()
		if err != nil {
			return malformed("%s", ofStream(err))
		}
		if !ok {
			return nil
		}
		if rows == 0 {
			continue
		}
		r.batch = Batch{Schema: s, Rows: rows, reader: r}
		if err := visit(&r.batch); err != nil {
			return err
		}
	}
}

// Index returns the index of the column of that name, or -1.
func (s *Schema) Index(name string) int {
	if at, ok := s.at[name]; ok {
		return at
	}
	return -1
}

// Column returns a column, of which Read has not looked at what is compressed: an error wraps
// ErrMalformed. Nothing is copied but what has to be decompressed; indices of rows that are not
// null lie within their dictionary.
func (b *Batch) Column(i int) (arrowipc.Column, error) {
	c, err := b.reader.ipc.Column(i)
	if err == nil {
		err = checkIndices(&c)
	}
	if err != nil {
		return c, malformed("column %q: %s", b.ipc.Fields[i].Name, ofStream(err))
	}
	return c, nil
}
