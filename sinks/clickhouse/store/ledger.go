package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
)

// What a table holds is compared with Kafka's log by pieces: how many rows bear coordinates
// of a piece, and the sum of the hashes of these. Only where that differs do coordinates
// travel.

// PieceSize is how many offsets a piece has.
const PieceSize = 4096

// Piece is a range of offsets of one partition: those that PieceSize divides Number times.
// Rows of a version are counted apart: another one may have scored the same requests.
type Piece struct {
	Version   string // "" where a table has none
	Topic     uuid.UUID
	Partition int32
	Number    int64
}

// PieceOf returns the piece that an offset belongs to.
func PieceOf(version string, topic uuid.UUID, partition int32, offset int64) Piece {
	return Piece{version, topic, partition, offset / PieceSize}
}

// Sum is a number of rows and the sum of the hashes of their offsets and rows. Two sums of a
// piece are equal only where the same rows have been added, but by a chance of 1 in 2^64.
type Sum struct{ Rows, Hash uint64 }

// Add adds a row.
func (s *Sum) Add(offset int64, row int32) {
	s.Rows++
	s.Hash += placeHash(offset, row)
}

// Plus returns the sum of what both have.
func (s Sum) Plus(o Sum) Sum { return Sum{s.Rows + o.Rows, s.Hash + o.Hash} }

// placeMultiplier spreads offsets, so that the places of a piece are different numbers.
const placeMultiplier = 11400714819323198485 // 2^64 / golden ratio

// placeHash is ClickHouse's intHash64 of the place; see placeHashSQL.
func placeHash(offset int64, row int32) uint64 {
	x := (uint64(offset)*placeMultiplier + uint64(row)) ^ 0x4CF2D2BAAE6DA887
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

func placeHashSQL(offset, row string) string {
	return "intHash64(toUInt64(" + offset + ") * " + strconv.FormatUint(placeMultiplier, 10) + " + toUInt64(" + row + "))"
}

// Ledger is a table whose rows are compared with the log by their coordinates.
type Ledger struct {
	Table  string
	places placeColumns
	// versioned tables hold one row for each version that has scored a request.
	versioned bool
}

// ObservationsLedger is the observations table of a model.
func ObservationsLedger(model string) Ledger {
	return Ledger{schemas.ObservationsTable(model), observationPlaces, true}
}

// The tables whose rows are one for each record.
var (
	FeedbackLedger    = Ledger{feedbackTable.name, feedbackTable.places, false}
	DeadLettersLedger = Ledger{deadLettersTable.name, deadLettersTable.places, false}
	EventsLedger      = Ledger{eventsTable.name, eventsTable.places, false}
)

// Reach is the part of a ledger that is looked at.
type Reach struct {
	Topic    uuid.UUID // coordinates of another topic are left out; the zero UUID leaves none out
	From, To time.Time // of the time column, where the table has one, both inclusive; zero is no bound
}

func (l Ledger) version() string {
	if l.versioned {
		return schemas.ColumnVersion
	}
	return "''"
}

func (l Ledger) row() string {
	if l.places.row == "" {
		return "toInt32(0)"
	}
	return l.places.row
}

func (l Ledger) where(r Reach) string {
	conditions := []string{"1"}
	if r.Topic != (uuid.UUID{}) {
		conditions = append(conditions, l.places.topicID+" = '"+r.Topic.String()+"'")
	}
	if !r.From.IsZero() && l.places.time != "" {
		conditions = append(conditions, l.places.time+" >= "+schemas.MicrosSQL(schemas.ClampMicros(r.From)))
	}
	if !r.To.IsZero() && l.places.time != "" {
		conditions = append(conditions, l.places.time+" <= "+schemas.MicrosSQL(schemas.ClampMicros(r.To)))
	}
	return strings.Join(conditions, " AND ")
}

// Sums returns what a ledger holds, by piece. A table that does not exist holds nothing.
func (l Ledger) Sums(ctx context.Context, c *clickhouse.Client, r Reach) (map[Piece]Sum, error) {
	if ok, err := c.HasTable(ctx, l.Table); err != nil || !ok {
		return nil, err
	}
	var found []struct {
		Version   string `ch:"v"`
		Topic     string `ch:"t"`
		Partition int32  `ch:"p"`
		Number    int64  `ch:"k"`
		Rows      uint64 `ch:"n"`
		Hash      uint64 `ch:"h"`
	}
	p := l.places
	sites, local, err := c.SitesOf(ctx, l.Table)
	if err != nil {
		return nil, fmt.Errorf("count the rows of %s: %w", l.Table, err)
	}
	sums := map[Piece]Sum{}
	for _, site := range sites {
		err := site.Select(ctx, &found, "SELECT toString("+l.version()+") AS v, toString("+p.topicID+") AS t, "+p.partition+" AS p, intDiv("+p.offset+", "+
			strconv.Itoa(PieceSize)+") AS k, count() AS n, sum("+placeHashSQL(p.offset, l.row())+") AS h FROM "+local+
			" WHERE "+l.where(r)+" GROUP BY "+l.version()+", "+p.topicID+", "+p.partition+", k")
		if err != nil {
			return nil, fmt.Errorf("count the rows of %s: %w", l.Table, err)
		}
		for _, f := range found {
			topic, _ := uuid.Parse(f.Topic) // what is no UUID is nobody's
			at := Piece{f.Version, topic, f.Partition, f.Number}
			sums[at] = sums[at].Plus(Sum{f.Rows, f.Hash})
		}
		found = found[:0]
	}
	return sums, nil
}

// StoredRow is what a table holds at one place.
type StoredRow struct {
	Version string
	schemas.Coordinates
	Copies uint64
	At     time.Time // by the time column; of several copies the earliest; 1970 where there is none
}

// Range is a range of offsets of one partition, from Start to before End.
type Range struct {
	Version    string
	Topic      uuid.UUID
	Partition  int32
	Start, End int64
}

// StoredRows returns what a ledger holds of some ranges, which do not overlap.
func (l Ledger) StoredRows(ctx context.Context, c *clickhouse.Client, r Reach, ranges []Range) ([]StoredRow, error) {
	if ok, err := c.HasTable(ctx, l.Table); err != nil || !ok {
		return nil, err
	}
	p := l.places
	at := "toInt64(0)"
	if p.time != "" {
		at = "toUnixTimestamp64Micro(min(" + p.time + "))"
	}
	sites, local, err := c.SitesOf(ctx, l.Table)
	if err != nil {
		return nil, fmt.Errorf("look for rows of %s: %w", l.Table, err)
	}
	type place struct {
		version string
		schemas.Coordinates
	}
	var rows []StoredRow
	index := map[place]int{} // of rows: shards can have copies of one
	for chunk := range slices.Chunk(ranges, maxSpans) {
		conditions := make([]string, len(chunk))
		for i, r := range chunk {
			conditions[i] = "(" + l.versionIs(r.Version) + p.within([]span{{r.Topic, r.Partition, r.Start, r.End - 1}}) + ")"
		}
		for _, site := range sites {
			var found []struct {
				Version   string `ch:"v"`
				Topic     string `ch:"t"`
				Partition int32  `ch:"p"`
				Offset    int64  `ch:"o"`
				Row       int32  `ch:"r"`
				Copies    uint64 `ch:"n"`
				At        int64  `ch:"at"`
			}
			err := site.Select(ctx, &found, "SELECT toString("+l.version()+") AS v, toString("+p.topicID+") AS t, "+p.partition+" AS p, "+p.offset+" AS o, "+
				l.row()+" AS r, count() AS n, "+at+" AS at FROM "+local+
				" WHERE "+l.where(r)+" AND ("+strings.Join(conditions, " OR ")+") GROUP BY v, t, p, o, r")
			if err != nil {
				return nil, fmt.Errorf("look for rows of %s: %w", l.Table, err)
			}
			for _, f := range found {
				topic, _ := uuid.Parse(f.Topic)
				at := schemas.Coordinates{TopicID: topic, Partition: f.Partition, Offset: f.Offset, Row: f.Row}
				row := StoredRow{Version: f.Version, Coordinates: at, Copies: f.Copies, At: time.UnixMicro(f.At)}
				if len(sites) == 1 {
					rows = append(rows, row)
					continue
				}
				i, again := index[place{f.Version, at}]
				if !again {
					index[place{f.Version, at}] = len(rows)
					rows = append(rows, row)
					continue
				}
				rows[i].Copies += row.Copies
				if row.At.Before(rows[i].At) {
					rows[i].At = row.At
				}
			}
		}
	}
	return rows, nil
}

// versionIs begins a condition on the rows of a version, where the ledger has versions. A
// version that a table holds may be any text.
func (l Ledger) versionIs(version string) string {
	if !l.versioned {
		return ""
	}
	return schemas.ColumnVersion + " = '" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(version) + "' AND "
}

// Single is a place of which a table holds several rows.
type Single struct {
	Version string
	schemas.Coordinates
}

// KeepOne removes all rows but one of each of the places, and returns how many it removed. A
// row is named by its part and its position in it, so that nothing else can be removed: a
// part never changes, and a statement that comes late, after a merge, finds no part of that
// name. Which row stays follows from these names alone: who does it again, or beside another
// who does it, removes the same rows.
func (l Ledger) KeepOne(ctx context.Context, c *clickhouse.Client, doubled []Single) (removed int, err error) {
	return l.remove(ctx, c, doubled, 1)
}

// Remove removes all rows at the places, as KeepOne does but one.
func (l Ledger) Remove(ctx context.Context, c *clickhouse.Client, places []Single) (removed int, err error) {
	return l.remove(ctx, c, places, 0)
}

func (l Ledger) remove(ctx context.Context, c *clickhouse.Client, places []Single, keep int) (removed int, err error) {
	sites, local, err := c.SitesOf(ctx, l.Table)
	if err != nil {
		return 0, fmt.Errorf("look for doubled rows of %s: %w", l.Table, err)
	}
	for chunk := range slices.Chunk(places, maxSpans) {
		copies := map[Single]int{} // seen so far, over all shards
		for _, site := range sites {
			n, err := l.removeAt(ctx, c, site, local, chunk, copies, keep)
			removed += n
			if err != nil {
				return removed, err
			}
		}
	}
	return removed, nil
}

// removeAt removes the rows of one shard at places, but for the first copies to keep.
func (l Ledger) removeAt(ctx context.Context, c *clickhouse.Client, site clickhouse.Site, local string, places []Single, copies map[Single]int, keep int) (removed int, err error) {
	p := l.places
	var conditions []string
	for _, s := range places {
		condition := l.versionIs(s.Version) + p.within([]span{{s.TopicID, s.Partition, s.Offset, s.Offset}})
		if p.row != "" {
			condition += " AND " + p.row + " = " + strconv.Itoa(int(s.Row))
		}
		conditions = append(conditions, "("+condition+")")
	}
	var found []struct {
		Version   string `ch:"v"`
		Topic     string `ch:"t"`
		Partition int32  `ch:"p"`
		Offset    int64  `ch:"o"`
		Row       int32  `ch:"r"`
		Part      string `ch:"part"`
		Position  uint64 `ch:"position"`
	}
	err = site.Select(ctx, &found, "SELECT toString("+l.version()+") AS v, toString("+p.topicID+") AS t, "+p.partition+" AS p, "+p.offset+" AS o, "+
		l.row()+" AS r, toString(_part) AS part, _part_offset AS position FROM "+local+
		" WHERE "+strings.Join(conditions, " OR ")+" ORDER BY v, t, p, o, r, part, position")
	if err != nil {
		return 0, fmt.Errorf("look for doubled rows of %s: %w", l.Table, err)
	}
	victims := map[string][]string{}
	for _, f := range found {
		topic, _ := uuid.Parse(f.Topic)
		at := Single{f.Version, schemas.Coordinates{TopicID: topic, Partition: f.Partition, Offset: f.Offset, Row: f.Row}}
		if copies[at]++; copies[at] > keep {
			victims[f.Part] = append(victims[f.Part], strconv.FormatUint(f.Position, 10))
			removed++
		}
	}
	if removed == 0 {
		return 0, nil
	}
	var of []string
	for part, positions := range victims {
		of = append(of, "(_part = '"+part+"' AND _part_offset IN ("+strings.Join(positions, ", ")+"))")
	}
	slices.Sort(of)
	if err := site.Exec(ctx, "DELETE FROM "+local+" WHERE "+strings.Join(of, " OR ")+c.DeleteSync()); err != nil {
		return 0, fmt.Errorf("remove %d doubled rows of %s: %w", removed, l.Table, err)
	}
	return removed, nil
}

// Refused returns the records of a topic that have become dead letters in the recorder: the
// offsets, by partition.
func Refused(ctx context.Context, c *clickhouse.Client, topic uuid.UUID) (map[int32]map[int64]bool, error) {
	if ok, err := c.HasTable(ctx, deadLettersTable.name); err != nil || !ok {
		return nil, err
	}
	var found []struct {
		Partition int32 `ch:"p"`
		Offset    int64 `ch:"o"`
	}
	l := DeadLettersLedger
	err := c.Select(ctx, &found, "SELECT DISTINCT "+l.places.partition+" AS p, "+l.places.offset+" AS o FROM "+c.Database()+"."+l.Table+" WHERE "+l.where(Reach{Topic: topic}))
	if err != nil {
		return nil, fmt.Errorf("look for refused records in %s: %w", l.Table, err)
	}
	refused := map[int32]map[int64]bool{}
	for _, f := range found {
		if refused[f.Partition] == nil {
			refused[f.Partition] = map[int64]bool{}
		}
		refused[f.Partition][f.Offset] = true
	}
	return refused, nil
}
