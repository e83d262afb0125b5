package compare

import (
	"context"
	"fmt"
	"hash/fnv"

	"github.com/apache/arrow/go/v15/arrow"
	"golang.org/x/sync/errgroup"
)

// byColumn reads one column after the other from both tables, several at a time: no more
// is held than the workers' columns.
func (e *engine) byColumn(ctx context.Context, plans []*plan) ([]done, error) {
	all := make([]done, len(plans))
	workers := min(e.Workers, len(plans))
	next := make(chan int)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { // ends with the plans, or with ctx
		defer close(next)
		for i := range plans {
			select {
			case next <- i:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range workers {
		g.Go(func() error { // ends when next closes
			var held [2]*side // of this worker: their memory serves one column after the other
			for i := range next {
				p := plans[i]
				for k := range e.tables {
					held[k] = e.side(p, k, 2*workers, held[k])
					if err := e.scan(ctx, k, []*side{held[k]}); err != nil {
						return err
					}
				}
				d, err := e.finish(p, held[0], held[1])
				if err != nil {
					return err
				}
				all[i] = d
			}
			return nil
		})
	}
	return all, g.Wait()
}

// atOnce reads all columns in one pass over each table.
func (e *engine) atOnce(ctx context.Context, plans []*plan) ([]done, error) {
	var sides [2][]*side
	g, scanning := errgroup.WithContext(ctx)
	for k := range e.tables {
		for _, p := range plans {
			sides[k] = append(sides[k], e.side(p, k, 2*len(plans), nil))
		}
		g.Go(func() error { return e.scan(scanning, k, sides[k]) }) // ends with the table
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	all := make([]done, len(plans))
	g = new(errgroup.Group)
	g.SetLimit(e.Workers)
	for i, p := range plans {
		g.Go(func() (err error) { // ends with the column
			all[i], err = e.finish(p, sides[0][i], sides[1][i])
			sides[0][i], sides[1][i] = nil, nil
			return err
		})
	}
	return all, g.Wait()
}

// leastHeld values of a column are held however little memory is allowed: of fewer, a sample
// tells neither a type nor a drift.
const leastHeld = 256

// side returns what collects one side of a column, where so many are collected at a time.
func (e *engine) side(p *plan, k, together int, before *side) *side {
	t := &e.tables[k]
	s := &side{plan: p, of: p.reference, class: p.reference.class, segment: t.segment}
	if k == 1 {
		s.of, s.class = p.current, p.current.class
	}
	if p.skip != "" {
		if before != nil {
			s.numbers = before.numbers // for the next
		}
		return s
	}
	parts := e.parts()
	if parts > 1 {
		s.pending = make([][]float64, parts)
	}
	if !p.numeric {
		for range parts {
			s.texts = append(s.texts, newTexts(max(e.Memory/int64(2*together*parts), leastHeld*2*textOverhead), k == 0 && e.Calibrate.Chunks > 0))
		}
		if before != nil {
			s.numbers = before.numbers
		}
		return s
	}
	// A value takes 8 bytes, and 8 more while it is sorted.
	limit := e.Memory / int64(together) / 16
	if parts > 1 {
		limit /= 2 // the segments hold each value once more
	}
	for i := range parts {
		size := limit
		if i > 0 {
			size /= int64(parts - 1)
		}
		size = max(size, leastHeld)
		stream := seedOf(p.name, k, i)
		if before != nil && i < len(before.numbers) && before.numbers[i].limit == int(size) {
			n := before.numbers[i]
			n.reset(e.Seed, stream)
			s.numbers = append(s.numbers, n)
			continue
		}
		s.numbers = append(s.numbers, newNumbers(int(size), e.Seed, stream))
	}
	return s
}

// seedOf makes samples of columns, sides and segments independent of each other, and of
// the order in which columns are read.
func seedOf(column string, k, segment int) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s\x00%d\x00%d", column, k, segment)
	return h.Sum64()
}

// scan reads the columns of one table into their sides.
func (e *engine) scan(ctx context.Context, k int, sides []*side) error {
	t := &e.tables[k]
	columns, salts := make([]int, len(sides)), make([]uint64, len(sides))
	for i, s := range sides {
		f := s.plan.reference
		if k == 1 {
			f = s.plan.current
		}
		columns[i], salts[i] = f.index, seedOf(s.plan.name, 0, 0)
	}
	rows, scratch := int64(0), newScratch()
	err := t.source.Scan(ctx, columns, func(batch arrow.Record) error {
		if t.segment != nil && rows+batch.NumRows() > int64(len(t.segment)) {
			return t.changed()
		}
		for i, s := range sides {
			s.scratch = scratch
			if err := s.add(batch.Column(i), t.hashes, salts[i]); err != nil {
				return fmt.Errorf("%s: column %q: %w", t.source.Name(), s.plan.name, err)
			}
		}
		rows += batch.NumRows()
		return nil
	})
	if err != nil {
		return err
	}
	if rows == 0 {
		return fmt.Errorf("%s has no rows: there is nothing to compare", t.source.Name())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if t.rows != 0 && t.rows != rows {
		return t.changed()
	}
	t.rows = rows
	byReader := t.source.TypeErrors()
	for i, s := range sides {
		s.end()
		s.typeErrors += byReader[columns[i]]
	}
	return nil
}

func (t *tableSide) changed() error {
	return fmt.Errorf("%s changed while it was read: compare a copy that nothing writes to", t.source.Name())
}

// room returns scratch space for a sort, of which there is as much as sorts run at a time;
// giveBack takes it again. (A sync.Pool forgets at every collection.)
func (e *engine) room() *[]float64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(e.rooms); n > 0 {
		r := e.rooms[n-1]
		e.rooms = e.rooms[:n-1]
		return r
	}
	return new([]float64)
}

func (e *engine) giveBack(room *[]float64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rooms = append(e.rooms, room)
}
