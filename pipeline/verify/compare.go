package verify

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/store"
)

// batchRows bounds the rows whose coordinates are looked at together, as far as one offset
// allows: a record of many requests has all its rows at one.
const batchRows = 200_000

// reach is the part of the tables that a book is compared with.
func (r *run) reach(b *book) store.Reach {
	if b.own {
		return store.Reach{Topic: b.topic}
	}
	of := store.Reach{From: time.UnixMicro(b.minAt)}
	if since := b.scan.heldSince(); since.Before(of.From) || b.maxAt < b.minAt {
		of.From = since
	}
	if !r.whole() {
		of.To = time.UnixMicro(max(b.minAt, b.maxAt))
	}
	return of
}

// compare compares a book with its tables.
func (r *run) compare(ctx context.Context, b *book) error {
	if !r.whole() && len(b.pieces) == 0 {
		return nil
	}
	found := map[store.Piece]store.Sum{}
	for _, l := range b.ledgers {
		sums, err := l.Sums(ctx, r.Tables, r.reach(b))
		if err != nil {
			return err
		}
		for p, s := range sums {
			found[p] = found[p].Plus(s)
		}
	}
	var differing []stretch
	for p, t := range b.pieces {
		switch f := found[p]; f {
		case t.stored, t.stored.Plus(t.open):
			r.line(b.kind, b.ledgers[0].Table, p.Topic, p.Partition).Found += int64(t.stored.Rows)
		default:
			differing = append(differing, stretches(p, t.stored.Rows+t.open.Rows+f.Rows)...)
		}
		delete(found, p)
	}
	for p, f := range found {
		if !b.own || b.reads(p, r.whole()) {
			differing = append(differing, stretches(p, f.Rows)...)
		}
	}
	slices.SortFunc(differing, func(x, y stretch) int {
		return cmp.Or(cmp.Compare(x.Topic.String(), y.Topic.String()), cmp.Compare(x.Partition, y.Partition), cmp.Compare(x.Start, y.Start), cmp.Compare(x.Version, y.Version))
	})
	var aliens []Difference
	for len(differing) > 0 {
		n, rows := 0, uint64(0)
		for n < len(differing) && n < 500 && (n == 0 || rows+differing[n].rows <= batchRows) {
			rows += differing[n].rows
			n++
		}
		more, err := r.locate(ctx, b, differing[:n])
		if err != nil {
			return err
		}
		aliens = append(aliens, more...)
		differing = differing[n:]
		if len(aliens) >= batchRows {
			if err := r.explain(ctx, b, aliens); err != nil {
				return err
			}
			aliens = aliens[:0]
		}
	}
	return r.explain(ctx, b, aliens)
}

// stretch is a piece, or some offsets of one that has many rows.
type stretch struct {
	store.Range
	piece store.Piece
	rows  uint64
}

func stretches(p store.Piece, rows uint64) []stretch {
	width := int64(store.PieceSize)
	if rows > batchRows {
		width = max(1, width*batchRows/int64(rows))
	}
	var out []stretch
	for from, end := p.Number*store.PieceSize, (p.Number+1)*store.PieceSize; from < end; from += width {
		out = append(out, stretch{
			store.Range{Version: p.Version, Topic: p.Topic, Partition: p.Partition, Start: from, End: min(from+width, end)},
			p, rows * uint64(width) / store.PieceSize,
		})
	}
	return out
}

// reads tells whether the log was read anywhere in a piece of its own coordinates, or, where
// everything was read, whether it lies behind the start of the log.
func (b *book) reads(p store.Piece, whole bool) bool {
	s, ok := b.scan.read[p.Partition]
	return whole && !ok || ok && (whole || p.Number*store.PieceSize < s.End) && (p.Number+1)*store.PieceSize > s.Start
}

// located is what log and tables say of one place.
type located struct {
	want, may int // rows that must be there, and that may be there beside them
	where     consumers.Place
	have      [2]int // in each of the book's tables
	at        time.Time
}

// placeKey is a place in one of the stretches that are looked at.
type placeKey struct {
	stretch int
	offset  int64
	row     int32
}

// locate compares stretches row by row. It returns what is in the tables and was not read.
func (r *run) locate(ctx context.Context, b *book, of []stretch) (aliens []Difference, err error) {
	rows := map[placeKey]*located{}
	byPiece := map[store.Piece][]int{}
	for i, p := range of {
		byPiece[p.piece] = append(byPiece[p.piece], i)
	}
	key := func(version string, c schemas.Coordinates) (placeKey, bool) {
		for _, i := range byPiece[store.PieceOf(version, c.TopicID, c.Partition, c.Offset)] {
			if c.Offset >= of[i].Start && c.Offset < of[i].End {
				return placeKey{i, c.Offset, c.Row}, true
			}
		}
		return placeKey{}, false
	}
	if err := r.recall(ctx, b, of, key, rows); err != nil {
		return nil, err
	}
	ranges := make([]store.Range, len(of))
	for i := range of {
		ranges[i] = of[i].Range
	}
	for i, l := range b.ledgers {
		found, err := l.StoredRows(ctx, r.Tables, r.reach(b), ranges)
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			k, ok := key(f.Version, f.Coordinates)
			if !ok {
				continue
			}
			at := rows[k]
			if at == nil {
				at = &located{}
				rows[k] = at
			}
			at.have[i] += int(f.Copies)
			at.at = f.At
		}
	}
	keys := slices.SortedFunc(maps.Keys(rows), func(x, y placeKey) int {
		return cmp.Or(cmp.Compare(x.stretch, y.stretch), cmp.Compare(x.offset, y.offset), cmp.Compare(x.row, y.row))
	})
	for _, k := range keys {
		at, p := rows[k], of[k.stretch]
		d := Difference{
			Kind: b.kind, Table: b.ledgers[0].Table, Version: p.Version, Copies: at.have[0] + at.have[1], Want: at.want,
			Coordinates: schemas.Coordinates{TopicID: p.Topic, Partition: p.Partition, Offset: k.offset, Row: k.row},
		}
		line := r.line(d.Kind, d.Table, p.Topic, p.Partition)
		switch {
		case at.want+at.may == 0:
			if r.alien(b, d.Coordinates, at.at) {
				d.Fault = Alien
				aliens = append(aliens, d)
			}
		case d.Copies < at.want:
			line.Found += int64(d.Copies)
			d.Fault = Missing
			r.differ(d)
			r.lose(b.scan.Topic, at.where)
		case d.Copies > at.want+at.may:
			line.Found += int64(d.Copies)
			d.Fault, d.Want = Doubled, at.want+at.may
			r.differ(d)
			r.double(b, d, at)
		default:
			line.Found += int64(at.want)
		}
	}
	return aliens, nil
}

// recall reads again what the log says of some stretches.
func (r *run) recall(ctx context.Context, b *book, of []stretch, key func(string, schemas.Coordinates) (placeKey, bool), rows map[placeKey]*located) error {
	spans := map[int32]consumers.Span{}
	add := func(partition int32, s consumers.Span) {
		read := b.scan.read[partition]
		s = consumers.Span{Start: max(s.Start, read.Start), End: min(s.End, read.End)}
		if s.Start >= s.End {
			return
		}
		if have, ok := spans[partition]; ok {
			s = consumers.Span{Start: min(s.Start, have.Start), End: max(s.End, have.End)}
		}
		spans[partition] = s
	}
	for _, p := range of {
		t := b.pieces[p.piece]
		switch {
		case t == nil:
		case b.own:
			add(p.Partition, consumers.Span{Start: p.Start, End: p.End})
		default:
			for _, w := range t.where {
				add(w.partition, w.span)
			}
		}
	}
	if len(spans) == 0 {
		return nil
	}
	return r.again(ctx, b, spans, func(rec *schemas.Record, e entry) {
		k, ok := key(e.version, e.Coordinates)
		if !ok {
			return
		}
		at := rows[k]
		if at == nil {
			at = &located{}
			rows[k] = at
		}
		if r.aged(r.class(b.scan, rec, r.committed), e.at) == inScope {
			at.want++
			at.where = consumers.Place{Partition: rec.Partition, Offset: rec.Offset}
		} else {
			at.may++
		}
	})
}

// again calls visit with the entries of a book in some spans of its log.
func (r *run) again(ctx context.Context, b *book, spans map[int32]consumers.Span, visit func(rec *schemas.Record, e entry)) error {
	r.rereading = true
	return r.Log.ReadSpans(ctx, b.scan.Topic, spans, func(rec *schemas.Record) error {
		return b.scan.entries(rec, func(e entry) {
			if e.book == b {
				visit(rec, e)
			}
		})
	})
}

// alien tells whether a row that the log does not have, as far as it was read, is one that it
// would have.
func (r *run) alien(b *book, c schemas.Coordinates, at time.Time) bool {
	if b.own {
		s, ok := b.scan.read[c.Partition]
		return !ok || c.Offset >= s.Start && (c.Offset < s.End || r.whole())
	}
	return !at.Before(b.scan.heldSince())
}

// explain looks for what seems to be alien in what has been appended to the log meanwhile.
func (r *run) explain(ctx context.Context, b *book, aliens []Difference) error {
	if len(aliens) == 0 {
		return nil
	}
	log, err := r.Log.Log(ctx, b.scan.Topic)
	if err != nil {
		return err
	}
	spans := map[int32]consumers.Span{}
	for p, held := range log.Partitions {
		if from := b.scan.read[p].End; from < held.End {
			spans[p] = consumers.Span{Start: from, End: held.End}
		}
	}
	type rowKey struct {
		version string
		schemas.Coordinates
	}
	candidates := make(map[rowKey]bool, len(aliens))
	for _, d := range aliens {
		candidates[rowKey{d.Version, d.Coordinates}] = true
	}
	err = r.again(ctx, b, spans, func(_ *schemas.Record, e entry) { delete(candidates, rowKey{e.version, e.Coordinates}) })
	if err != nil {
		return err
	}
	for _, d := range aliens {
		if candidates[rowKey{d.Version, d.Coordinates}] {
			r.line(d.Kind, d.Table, d.TopicID, d.Partition).Found += int64(d.Copies)
			r.differ(d)
		}
	}
	return nil
}

// lose notes a record of which rows are missing.
func (r *run) lose(topic string, at consumers.Place) {
	if r.lost[topic] == nil {
		r.lost[topic] = map[int32]*roaring64.Bitmap{}
	}
	if r.lost[topic][at.Partition] == nil {
		r.lost[topic][at.Partition] = roaring64.New()
	}
	r.lost[topic][at.Partition].Add(uint64(at.Offset))
}

// double notes a place with too many rows. Where there are rows in both tables, those of the
// first stay: what could be used is not refused.
func (r *run) double(b *book, d Difference, at *located) {
	left := d.Want
	for i, l := range b.ledgers {
		keep := min(left, at.have[i])
		left -= keep
		if at.have[i] > keep && len(r.doubled[l.Table]) < batchRows { // the next round has the others
			r.doubled[l.Table] = append(r.doubled[l.Table], doubledRow{store.Single{Version: d.Version, Coordinates: d.Coordinates}, l, keep})
		}
	}
}
