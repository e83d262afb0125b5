package history

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// What one statement of a backfill may take. A t-digest of ClickHouse takes up to 32 KiB, of few
// values 16 bytes each.
const (
	fillThreads     = 4
	fillThreadBytes = 128 << 20
	fillSpillBytes  = 2 * fillThreads * fillThreadBytes // beyond it groups go to disk
	digestBytes     = 32 << 10
	digestRowBytes  = 16
	groupBytes      = 256 // of a column, beside cells and digest
	// fillColumns is how many columns a statement counts: ClickHouse takes 0.03 s of CPU to analyse one of
	// 5, 0.4 s one of 20 and 6 s one of 80.
	fillColumns = 8
	// maxResampled is how many cells one countResample has: ClickHouse allows no more.
	maxResampled = 4096
)

// Of the forms that were measured on the embedded engine (2 million rows of 21 columns in 20
// buckets, CPU seconds): aggregates of all columns side by side, whose results ARRAY JOIN unfolds, with cells by
// countResample 4.6; one statement a column, grouped by cell, some 60.

// statements are the statements that count buckets: of some columns in one pass over the rows, aggregated
// side by side and then unfolded. Each holds as many buckets as fit into memory.
func (f *filling) statements(ref *schemas.Reference, buckets []differing) (out []string) {
	buckets = slices.Clone(buckets)
	slices.SortFunc(buckets, func(a, b differing) int { return cmp.Compare(a.Bucket, b.Bucket) })
	for first := 0; first < len(ref.Columns); {
		pass := &pass{filling: f}
		for first < len(ref.Columns) && (len(pass.columns) == 0 || pass.text < maxQueryText && len(pass.columns) < fillColumns) {
			pass.add(first, &ref.Columns[first])
			first++
		}
		for from := 0; from < len(buckets); {
			to, taken := from, 0
			for to < len(buckets) && (to == from || taken+pass.size(buckets[to]) <= f.bytes) {
				taken += pass.size(buckets[to])
				to++
			}
			out = append(out, pass.insert(buckets[from:to]))
			from = to
		}
	}
	return out
}

// pass is some columns of a plan that are counted at once.
type pass struct {
	*filling
	columns []passColumn
	text    int // of statements, in bytes
	cells   int
	numbers int // columns with a digest
}

// passColumn is what counts one column: expressions of a row, aggregates over rows, and the tuple of
// them that becomes a row of profiles.
type passColumn struct{ row, aggregates, tuple string }

// size is about what the groups of a bucket take at most.
func (p *pass) size(b differing) int {
	values := 1
	for _, s := range p.plan.Segments {
		values += len(p.plan.SegmentValues(s)) + 1
	}
	groups := int(b.Variants) * values
	digests := min(groups*digestBytes, digestRowBytes*int(b.Rows)*(1+len(p.plan.Segments)))
	return groups*(8*p.cells+groupBytes*len(p.columns)) + p.numbers*digests
}

// Aliases of a column's parts: 0 is what no feature's name begins with.
func alias(part string, at int) string { return "`0" + part + strconv.Itoa(at) + "`" }

// add adds a column.
func (p *pass) add(at int, c *schemas.ReferenceColumn) {
	var col passColumn
	name, cell := column(c.Name), alias("c", at)
	if len(c.Edges) > 0 {
		number, finite := alias("x", at), alias("f", at)
		origin := strconv.FormatFloat(p.plan.Columns[at].Origin(), 'e', -1, 64)
		col.row = fmt.Sprintf("toUInt32(%s) AS %s, isNull(%s) AS %s, assumeNotNull(toFloat64(%s)) AS %s, NOT %s AND isFinite(%s) AS %s, %s - (%s) AS %s",
			cellExpression(c), cell, name, alias("m", at), name, number, alias("m", at), number, finite, number, origin, alias("d", at))
		special := func(test string) string { return fmt.Sprintf("countIf(NOT %s AND %s)", alias("m", at), test) }
		col.aggregates = strings.Join([]string{
			resampled(cell, 0, len(c.Edges)+1) + " AS " + alias("k", at),
			"tuple(countIf(" + alias("m", at) + "), " + special("isNaN("+number+")") + ", " + special(number+" = inf") + ", " + special(number+" = -inf") + ", " +
				fmt.Sprintf("sumIf(%[1]s, %[2]s), sumIf(%[1]s * %[1]s, %[2]s), ifNull(minOrNullIf(%[3]s, %[2]s), inf), ifNull(maxOrNullIf(%[3]s, %[2]s), -inf))", alias("d", at), finite, number) + " AS " + alias("a", at),
			fmt.Sprintf("quantilesTDigestStateIf(0.5)(%s, %s) AS %s", number, finite, alias("s", at)),
		}, ", ")
		a := alias("a", at)
		col.tuple = fmt.Sprintf("(%s, %[2]s.1, %[2]s.2, %[2]s.3, %[2]s.4, toUInt64(0), %[3]s, %[2]s.5, %[2]s.6, %[2]s.7, %[2]s.8, %[4]s, %[5]s)",
			quote(c.Name), a, alias("k", at), emptyUnseen, alias("s", at))
		p.numbers++
	} else {
		col.row = fmt.Sprintf("toUInt32(%s) AS %s, assumeNotNull(toString(%s)) AS %s", cellExpression(c), cell, name, alias("x", at))
		missing := fmt.Sprintf("countIf(%s = %d)", cell, profile.CellMissing)
		other := fmt.Sprintf("%s = %d", cell, profile.CellOther)
		col.aggregates = fmt.Sprintf("%s AS %s, tuple(%s, countIf(%s)) AS %s, topKWeightedStateIf(10, 3, 'counts')(%s, toUInt64(1), %s) AS %s",
			resampled(cell, 1, len(c.Categories)+1), alias("k", at), missing, other, alias("a", at), alias("x", at), other, alias("s", at))
		a := alias("a", at)
		col.tuple = fmt.Sprintf("(%s, %[2]s.1, toUInt64(0), toUInt64(0), toUInt64(0), %[2]s.2, %[3]s, toFloat64(0), toFloat64(0), inf, -inf, %[4]s, %[5]s)",
			quote(c.Name), a, alias("k", at), alias("s", at), emptyQuantiles)
	}
	p.columns = append(p.columns, col)
	p.text += len(col.row) + len(col.aggregates) + len(col.tuple)
	p.cells += len(c.Counts)
}

// States of nothing.
const (
	emptyUnseen    = `arrayReduce('topKWeightedState(10, 3, \'counts\')', emptyArrayString(), emptyArrayUInt64())`
	emptyQuantiles = `arrayReduce('quantilesTDigestState(0.5)', emptyArrayFloat64())`
)

// resampled counts rows by cell, of the cells [from, to).
func resampled(cell string, from, to int) string {
	var parts []string
	for ; from < to; from += maxResampled {
		parts = append(parts, fmt.Sprintf("countResample(%d, %d, 1)(%s)", from, min(from+maxResampled, to), cell))
	}
	switch len(parts) {
	case 0:
		return "emptyArrayUInt64()"
	case 1:
		return parts[0]
	}
	return "arrayConcat(" + strings.Join(parts, ", ") + ")"
}

// insert is the statement that counts the columns in buckets, which ascend.
func (p *pass) insert(buckets []differing) string {
	first, last := buckets[0].Bucket, buckets[len(buckets)-1].Bucket
	length := p.plan.Bucket.Microseconds()
	span := profile.Span{Start: time.UnixMicro(p.origin.UnixMicro() + first*length), End: time.UnixMicro(p.origin.UnixMicro() + (last+1)*length)}
	where := p.where(span) + " AND stored_at < " + schemas.SecondsSQL(p.before)
	if last-first+1 != int64(len(buckets)) {
		list := make([]string, len(buckets))
		for i, b := range buckets {
			list[i] = strconv.FormatInt(b.Bucket, 10)
		}
		where += " AND " + p.bucketOf("event_time") + " IN (" + strings.Join(list, ", ") + ")"
	}
	rows, aggregates, tuples := make([]string, len(p.columns)), make([]string, len(p.columns)), make([]string, len(p.columns))
	for i, c := range p.columns {
		rows[i], aggregates[i], tuples[i] = c.row, c.aggregates, c.tuple
	}
	// Segments multiply rows after their cells are known.
	segments, join := "('', '') AS `0g`", ""
	if len(p.plan.Segments) > 0 {
		segments, join = p.segments()+" AS `0h`", " ARRAY JOIN `0h` AS `0g`"
	}
	return fmt.Sprintf(`INSERT INTO %[1]s.profiles (model, version, plan, segment, value, column, bucket, variant, rows, missing, nan, positive_inf, negative_inf, other, cells, total, squares, least, greatest, unseen, quantiles)
SELECT %[2]s, %[3]s, %[4]s, `+"`0g`.1, `0g`.2, `0t`.1"+`, fromUnixTimestamp64Micro(%[5]d + `+"`0b`"+` * %[6]d, 'UTC'), `+"`0v`, `0n`, `0t`.2, `0t`.3, `0t`.4, `0t`.5, `0t`.6"+`,
  arrayReduce('sumForEachState', [arrayResize(`+"`0t`.7, arrayLastIndex(`0k` -> `0k` > 0, `0t`.7))]), `0t`.8, `0t`.9, `0t`.10, `0t`.11, `0t`.12, `0t`.13"+`
FROM (SELECT `+"`0g`, `0b`, `0v`, `0n`"+`, arrayJoin([%[7]s]) AS `+"`0t`"+`
FROM (SELECT `+"`0g`, `0b`, `0v`, count() AS `0n`"+`, %[8]s
FROM (SELECT %[9]s, %[10]s AS `+"`0b`, toString(variant) AS `0v`"+`, %[11]s
FROM %[12]s WHERE %[13]s)%[14]s GROUP BY `+"`0g`, `0b`, `0v`"+`))
SETTINGS max_threads = %[15]d, max_bytes_before_external_group_by = %[16]d`,
		p.database, quote(p.model), quote(p.version), quote(p.id), p.origin.UnixMicro(), length, strings.Join(tuples, ",\n  "), strings.Join(aggregates, ",\n  "),
		segments, p.bucketOf("event_time"), strings.Join(rows, ",\n  "), p.observations(), where, join, fillThreads, fillSpillBytes)
}

// segments is the expression of the segments and values that a row is counted in.
func (p *pass) segments() string {
	groups := []string{"('', '')"}
	for _, name := range p.plan.Segments {
		groups = append(groups, fmt.Sprintf("(%s, %s)", quote(name), segmentValue(name, p.plan.SegmentValues(name))))
	}
	return "[" + strings.Join(groups, ", ") + "]"
}

// segmentValue is the expression of a row's value of a segment of which these are listed.
func segmentValue(name string, listed []string) string {
	quoted := []string{"''"}
	for _, v := range listed {
		quoted = append(quoted, quote(v))
	}
	value := "ifNull(toString(" + column(name) + "), '')"
	return fmt.Sprintf("if(%[1]s IN (%[2]s), %[1]s, %[3]s)", value, strings.Join(quoted, ", "), quote(profile.OtherValues))
}
