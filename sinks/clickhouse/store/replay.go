package store

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/google/uuid"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/observe"
	"github.com/millrace/millrace/sinks/clickhouse"
)

// verify checks that the rows of an insert are stored: a stream that was cut between two
// messages is taken without an error. It counts; only if the count is another are the rows
// themselves looked for, since others may store rows in the same ranges.
func (c *call) verify(ctx context.Context, table string, columns placeColumns, version string, sum *extent, places func() ([]schemas.Coordinates, error)) error {
	stored := uint64(0)
	for _, where := range columns.conditions(sum) {
		var count []struct {
			Rows uint64 `ch:"rows"`
		}
		err := c.client.Ask(ctx, &count, "SELECT count() AS rows FROM "+c.client.Database()+"."+table+" WHERE "+justStored(c.lease.Deadline)+versionCondition(version)+where)
		if err != nil {
			return fmt.Errorf("count the rows that were inserted into %s: %w", table, err)
		}
		for _, c := range count {
			stored += c.Rows
		}
	}
	// A replica that has not got them yet counts too few: then they are looked for.
	if stored == uint64(sum.rows) {
		return nil
	}
	want, err := places()
	if err != nil {
		return err
	}
	have, err := c.present(ctx, table, columns, version, sum)
	if err != nil {
		return err
	}
	missing := 0
	for _, p := range want {
		if _, ok := have[p]; !ok {
			missing++
		}
	}
	if missing > 0 {
		return fmt.Errorf("%w: %d of %d rows are not in %s", clickhouse.ErrIncomplete, missing, len(want), table)
	}
	return nil
}

// justStored restricts a count of rows to the partitions that an insert of that deadline has
// stored into. A count that it makes wrong is made up for: the rows are looked for without it.
func justStored(deadline time.Time) string {
	if deadline.IsZero() {
		return ""
	}
	return schemas.ColumnStoredAt + " >= " + schemas.SecondsSQL(deadline.Add(-justStoredWithin).Unix()) + " AND "
}

// justStoredWithin is longer than from an announcement to its deadline.
const justStoredWithin = time.Hour

// versionCondition restricts a query to the rows of a version: another version may have
// scored the same request, as a shadow.
func versionCondition(version string) string {
	if version == "" {
		return ""
	}
	return "version = '" + version + "' AND "
}

// present returns the coordinates of the rows that are stored in an extent.
func (c *call) present(ctx context.Context, table string, columns placeColumns, version string, sum *extent) (map[schemas.Coordinates]struct{}, error) {
	row := "toInt32(0)"
	if columns.row != "" {
		row = columns.row
	}
	topics := map[string]uuid.UUID{}
	for _, s := range sum.spans {
		topics[s.topic.String()] = s.topic
	}
	have := map[schemas.Coordinates]struct{}{}
	sites, local, err := c.client.SettledSitesOf(ctx, table)
	if err != nil {
		return nil, fmt.Errorf("look for stored rows in %s: %w", table, err)
	}
	for _, site := range sites {
		for _, where := range columns.conditions(sum) {
			var found []struct {
				Topic     string `ch:"topic"`
				Partition int32  `ch:"partition"`
				Offset    int64  `ch:"offset"`
				Row       int32  `ch:"row"`
			}
			err := site.Ask(ctx, &found, "SELECT "+columns.topicID+" AS topic, "+columns.partition+" AS partition, "+
				columns.offset+" AS offset, "+row+" AS row FROM "+local+" WHERE "+versionCondition(version)+where)
			if err != nil {
				return nil, fmt.Errorf("look for stored rows in %s: %w", table, err)
			}
			for _, f := range found {
				have[schemas.Coordinates{TopicID: topics[f.Topic], Partition: f.Partition, Offset: f.Offset, Row: f.Row}] = struct{}{}
			}
		}
	}
	return have, nil
}

// findPresent finds which records have their row in one of the tables of one row per
// record. Any record may have been refused, and then has one in dead_letters.
func (c *call) findPresent(ctx context.Context, records []schemas.Record) error {
	for _, f := range c.feeds {
		if f.table == nil {
			continue
		}
		var e extent
		for i := range records {
			if f.table == deadLettersTable || records[i].Topic == f.topic {
				e.add(records[i].Coordinates(), 0)
			}
		}
		if e.rows == 0 {
			continue
		}
		if err := c.client.AwaitInserts(ctx, f.table.name); err != nil {
			return err
		}
		var err error
		if c.rows[f.table].present, err = c.present(ctx, f.table.name, f.table.places, "", &e); err != nil {
			return err
		}
	}
	return nil
}

// remainder is the missing rows of records of which others are stored: a whole stream.
type remainder struct {
	value  []byte
	extent extent
	places []schemas.Coordinates
}

// missingParts returns the records of which no row is stored, and the missing rows of
// those of which some are, nil if there is none.
func (c *call) missingParts(ctx context.Context, o *observations, parts []part) (whole []part, rest *remainder, err error) {
	var sum extent
	for i := range parts {
		sum.merge(&parts[i].extent)
	}
	if sum.rows == 0 {
		return nil, nil, nil
	}
	have, err := c.present(ctx, schemas.ObservationsTable(o.Model), observationPlaces, o.Version, &sum)
	if err != nil {
		return nil, nil, err
	}
	var buf bytes.Buffer
	var w *ipc.Writer
	for i := range parts {
		p := &parts[i]
		missing := make([]bool, 0, p.extent.rows)
		n := 0
		var found remainder
		err := o.Rows(p.messages, func(at schemas.Coordinates, scoredAt int64) {
			_, stored := have[at]
			missing = append(missing, !stored)
			if !stored {
				n++
				found.extent.add(at, scoredAt)
				found.places = append(found.places, at)
			}
		})
		if err != nil {
			return nil, nil, err
		}
		c.stats.Present += len(missing) - n
		switch n {
		case 0:
		case len(missing):
			whole = append(whole, *p)
		default:
			if w == nil {
				w = ipc.NewWriter(&buf, ipc.WithSchema(o.Schema.Schema), ipc.WithAllocator(c.mem))
				rest = &remainder{}
			}
			if err := c.copyRows(w, p.value, missing); err != nil {
				return nil, nil, fmt.Errorf("copy %d missing rows for %s: %w", n, schemas.ObservationsTable(o.Model), err)
			}
			rest.extent.merge(&found.extent)
			rest.places = append(rest.places, found.places...)
		}
	}
	if w != nil {
		if err := w.Close(); err != nil {
			return nil, nil, err
		}
		rest.value = buf.Bytes()
	}
	return whole, rest, nil
}

// copyRows writes the rows of an observation record that keep says, as one batch: a batch for
// each run of them would bring its dictionaries again and again.
func (c *call) copyRows(w *ipc.Writer, value []byte, keep []bool) error {
	return decode(value, c.mem, func(rec arrow.Record) error {
		n := int(rec.NumRows())
		of := keep[:n]
		keep = keep[n:]
		var runs [][2]int64
		for i := 0; i < n; i++ {
			if !of[i] {
				continue
			}
			j := i + 1
			for j < n && of[j] {
				j++
			}
			runs = append(runs, [2]int64{int64(i), int64(j)})
			i = j
		}
		if len(runs) == 0 {
			return nil
		}
		kept, err := withRuns(rec, runs, c.mem)
		if err != nil {
			return err
		}
		defer kept.Release()
		return w.Write(kept)
	})
}

// withRuns returns some runs of rows of a batch, which share its dictionaries. The caller
// releases it.
func withRuns(rec arrow.Record, runs [][2]int64, mem memory.Allocator) (arrow.Record, error) {
	columns := make([]arrow.Array, 0, rec.NumCols())
	defer func() {
		for _, col := range columns {
			col.Release()
		}
	}()
	rows := int64(0)
	for _, run := range runs {
		rows += run[1] - run[0]
	}
	for i, col := range rec.Columns() {
		dict, isDict := col.(*array.Dictionary)
		if isDict {
			col = dict.Indices()
		}
		kept := make([]arrow.Array, len(runs))
		for i, run := range runs {
			kept[i] = array.NewSlice(col, run[0], run[1])
		}
		joined, err := array.Concatenate(kept, mem)
		for _, k := range kept {
			k.Release()
		}
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", rec.ColumnName(i), err)
		}
		if isDict {
			indices := joined
			joined = array.NewDictionaryArray(dict.DataType(), indices, dict.Dictionary())
			indices.Release()
		}
		columns = append(columns, joined)
	}
	return array.NewRecord(rec.Schema(), columns, rows), nil
}

// decode calls fn with the record batches of a stream; it releases them. Bytes that the
// decoder panics on are malformed.
func decode(value []byte, mem memory.Allocator, fn func(arrow.Record) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", observe.ErrMalformed, p)
		}
	}()
	r, err := ipc.NewReader(bytes.NewReader(value), ipc.WithAllocator(mem))
	if err != nil {
		return fmt.Errorf("%w: %w", observe.ErrMalformed, err)
	}
	defer r.Release()
	for r.Next() {
		if err := fn(r.Record()); err != nil {
			return err
		}
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("%w: %w", observe.ErrMalformed, err)
	}
	return nil
}

// checkContent decompresses the buffers of an observation record, as split does not. What is in
// them split has looked at, where any bytes would not do.
func checkContent(value []byte) error {
	return decode(value, memory.DefaultAllocator, func(arrow.Record) error { return nil })
}
