package compare

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/millrace/millrace/drift/dataset"
	"github.com/millrace/millrace/drift/stattest"
)

// Version is that of the result's schema. It grows when a field changes its meaning.
const Version = "1"

// engine is one comparison at work.
type engine struct {
	*checked
	tables [2]tableSide
	plans  []*plan

	segments []string // names of the compared segments; those of the rows count from 1

	mu    sync.Mutex
	notes []string
	left  []LeftOut
	rooms []*[]float64 // that are free; see room
}

// tableSide is one of the tables.
type tableSide struct {
	source  dataset.Source
	what    string // reference or current
	rows    int64
	hashes  *rowHashes
	segment []uint16 // of each row: 0 for none, else 1 + its index in engine.segments
}

// Compare compares the tables. It reads each as often as it needs to: once, and once more
// for segments, for the model's quality and for the multivariate methods.
func Compare(ctx context.Context, reference, current dataset.Source, options Options) (*Result, error) {
	o, err := options.check()
	if err != nil {
		return nil, err
	}
	e := &engine{checked: o}
	e.tables = [2]tableSide{{source: dataset.Exact(reference), what: "reference"}, {source: dataset.Exact(current), what: "current"}}
	for i, t := range e.tables {
		for _, n := range t.source.Notes() {
			e.note("%s: %s", t.source.Name(), n)
		}
		// A quarter of the memory, of both sides, at 8 bytes a row.
		e.tables[i].hashes = &rowHashes{limit: max(o.Memory/64, hashBlock), done: len(o.Columns) > 0}
	}
	if err := e.plan(); err != nil {
		return nil, err
	}
	if o.Segment != "" {
		if err := e.readSegments(ctx); err != nil {
			return nil, err
		}
	}
	e.columns = len(e.plans)
	all, err := e.read(ctx, e.plans)
	if err != nil {
		return nil, err
	}
	// What turned out to be text on one side, and nothing on the other, is read as such, and so are
	// numbers that were rounded where each of them counts.
	var again []*plan
	for _, d := range all {
		if d.again {
			again = append(again, d.plan)
		}
	}
	if len(again) > 0 {
		e.tables[0].hashes.done, e.tables[1].hashes.done = true, true
		texts, err := e.read(ctx, again)
		if err != nil {
			return nil, err
		}
		for i := range all {
			if all[i].again {
				all[i], texts = texts[0], texts[1:]
			}
		}
	}
	return e.result(ctx, all)
}

// read reads and judges columns.
func (e *engine) read(ctx context.Context, plans []*plan) ([]done, error) {
	if e.tables[0].source.Columnar() && e.tables[1].source.Columnar() {
		return e.byColumn(ctx, plans)
	}
	// So many at a time that what each needs at least fits: a pass over the tables costs less
	// than memory that is not there.
	together := max(1, int(e.Memory/int64(2*e.parts()*leastOfColumn)))
	var all []done
	for some := range slices.Chunk(plans, together) {
		d, err := e.atOnce(ctx, some)
		if err != nil {
			return nil, err
		}
		all = append(all, d...)
	}
	return all, nil
}

// parts is how many parts of the rows a column is collected for: all, and each segment.
func (e *engine) parts() int { return 1 + len(e.segments) }

// leastOfColumn is about what one side of a column takes at least, of each part: the values
// that are held and those that wait, twice, and what describes them.
const leastOfColumn = 2*8*(leastHeld+segmentRows) + 2048

// done is a column that was judged, as a whole and by segment.
type done struct {
	plan     *plan
	whole    judged
	segments []judged
	content  [2]uint64
	again    bool   // it is to be read in another way, which the plan says
	conflict string // why it is not compared: the sides hold different things
}

func (e *engine) note(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.notes = append(e.notes, fmt.Sprintf(format, args...))
}

// plan decides which columns are compared, and how they are read.
func (e *engine) plan() error {
	fields := [2]map[string]field{}
	var names [2][]string
	nested := map[string]bool{}
	for i, t := range e.tables {
		fields[i] = map[string]field{}
		for at, f := range t.source.Schema().Fields() {
			c, ok := fieldOf(at, f)
			if !ok {
				if slices.Contains(e.Columns, f.Name) {
					return fmt.Errorf("%s: column %q has values of type %s, which cannot be compared: leave it out of --columns", t.source.Name(), f.Name, dataset.TypeName(f))
				}
				if e.wanted(f.Name) {
					e.note("column %q of %s is left out: values of type %s cannot be compared", f.Name, t.source.Name(), dataset.TypeName(f))
					if !nested[f.Name] {
						e.leave(f.Name, LeftNested)
					}
				}
				nested[f.Name] = true
				continue
			}
			if dataset.Index(f) && !e.named(f.Name) {
				if e.wanted(f.Name) {
					e.note("column %q of %s is left out: it is the index that pandas or R wrote; --columns or --categorical compares it nevertheless", f.Name, t.source.Name())
				}
				nested[f.Name] = true
				continue
			}
			if _, twice := fields[i][f.Name]; twice {
				return fmt.Errorf("%s: two columns are named %q: rename one", t.source.Name(), f.Name)
			}
			fields[i][f.Name] = c
			names[i] = append(names[i], f.Name)
		}
	}
	if err := e.requireNamed(fields, names); err != nil {
		return err
	}

	var only [2][]string
	for _, name := range names[1] {
		if _, ok := fields[0][name]; !ok && e.wanted(name) && !nested[name] {
			only[1] = append(only[1], name)
		}
	}
	for _, name := range names[0] {
		if !e.wanted(name) || nested[name] {
			continue
		}
		if _, ok := fields[1][name]; !ok {
			only[0] = append(only[0], name)
			continue
		}
		p := &plan{name: name, reference: fields[0][name], current: fields[1][name]}
		switch name {
		case e.Target:
			p.role = RoleTarget
		case e.Prediction:
			p.role = RolePrediction
		}
		switch {
		case slices.Contains(e.Numeric, name):
			p.declared = TypeNumeric
		case slices.Contains(e.Categorical, name):
			p.declared = TypeCategorical
		}
		p.settle()
		if p.skip != "" {
			e.note("column %q is left out: it %s", name, p.skip)
			e.leave(name, LeftTimes)
		}
		if p.declared == TypeNumeric && p.reference.zone != p.current.zone && p.reference.class == classTime && p.current.class == classTime {
			e.note("column %q holds times of which one side says the zone and the other does not: those without one are read as UTC", name)
		}
		e.plans = append(e.plans, p)
	}
	for i, side := range []string{"reference", "current side"} {
		for _, name := range only[i] {
			e.leave(name, []string{LeftOnlyReference, LeftOnlyCurrent}[i])
		}
		if len(only[i]) > 0 {
			e.note("only the %s has %s: not compared", side, listed(only[i]))
		}
	}
	same := lookAlike(only[0], only[1])
	if same != "" {
		same += ": rename one, and the columns are compared"
		e.note("%s", same)
	}
	if !slices.ContainsFunc(e.plans, func(p *plan) bool { return p.skip == "" || p.doubtful }) {
		if len(e.plans) > 0 {
			return e.noneLeft()
		}
		if same != "" {
			same = "; " + same
		}
		return fmt.Errorf("%s and %s have no column to compare: the first has %s, the second %s%s",
			e.tables[0].source.Name(), e.tables[1].source.Name(), listed(names[0]), listed(names[1]), same)
	}
	return nil
}

// leave remembers that a column is not compared.
func (e *engine) leave(column, reason string) { e.left = append(e.left, LeftOut{column, reason}) }

// named says that options name a column as one to compare.
func (e *engine) named(name string) bool {
	for _, list := range [][]string{e.Columns, e.Categorical, e.Numeric, some(e.Segment), some(e.Target), some(e.Prediction), keys(e.tests.column), keys(e.thresholds.column)} {
		if slices.Contains(list, name) {
			return true
		}
	}
	return false
}

// noneLeft says why each column is left out, where all are.
func (e *engine) noneLeft() error {
	return fmt.Errorf("no column is left to compare: %s", strings.Join(e.notes, "; "))
}

// requireNamed tells which columns that options name are not there.
func (e *engine) requireNamed(fields [2]map[string]field, names [2][]string) error {
	var errs []error
	missing := func(option, name string) {
		for i, t := range e.tables {
			if _, ok := fields[i][name]; !ok {
				errs = append(errs, fmt.Errorf("%s has no column %q, which %s names; it has %s", t.source.Name(), name, option, listed(names[i])))
			}
		}
	}
	for _, list := range []struct {
		option string
		names  []string
	}{
		{"--columns", e.Columns},
		{"--categorical", e.Categorical},
		{"--numeric", e.Numeric},
		{"--segment", some(e.Segment)},
		{"--target", some(e.Target)},
		{"--prediction", some(e.Prediction)},
		{"--test", keys(e.tests.column)},
		{"--threshold", keys(e.thresholds.column)},
	} {
		for _, name := range list.names {
			missing(list.option, name)
		}
	}
	for _, name := range e.Ignore {
		if _, r := fields[0][name]; !r {
			if _, c := fields[1][name]; !c {
				errs = append(errs, fmt.Errorf("neither side has a column %q, which --ignore names; the reference has %s", name, listed(names[0])))
			}
		}
	}
	return errors.Join(errs...)
}

func (e *engine) wanted(name string) bool {
	if name == e.Segment || slices.Contains(e.Ignore, name) {
		return false
	}
	return len(e.Columns) == 0 || slices.Contains(e.Columns, name) || name == e.Target || name == e.Prediction
}

func some(name string) []string {
	if name == "" {
		return nil
	}
	return []string{name}
}

func keys[T any](m map[string]T) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// listed writes names for a sentence, not all of very many.
func listed(names []string) string {
	const most = 12
	if len(names) == 0 {
		return "no columns"
	}
	var out []string
	for _, n := range names[:min(len(names), most)] {
		out = append(out, shownName(n, 40))
	}
	text := strings.Join(out, ", ")
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// finish judges a column that was read.
func (e *engine) finish(p *plan, reference, current *side) (done, error) {
	scratch := e.room()
	defer e.giveBack(scratch)
	d := done{plan: p, content: [2]uint64{reference.content, current.content}}
	sides := [2]*side{reference, current}
	if again, conflict := e.doubts(p, sides); again || conflict != "" {
		d.again, d.conflict = again, conflict
		return d, nil
	}
	if p.skip != "" {
		return d, nil
	}
	judge := func(i int, kind string) judged {
		of := pair{plan: p}
		for k, to := range []*sideOf{&of.reference, &of.current} {
			s := sides[k]
			if i == 0 {
				to.typeErrors = s.typeErrors
			}
			if to.rounded = s.rounded; !p.numeric {
				to.texts = s.texts[i]
				continue
			}
			to.numbers = s.numbers[i]
			if k == 0 && e.Calibrate.Chunks > 0 {
				to.chunks = to.numbers.chunks(e.Calibrate.Chunks)
			}
			to.sample = to.numbers.finish(scratch)
			to.rounded = to.rounded || s.class == classInteger && !s.of.exact && beyond53(to.numbers)
		}
		return e.judge(of, kind)
	}
	d.whole = judge(0, "")
	if d.whole.rounded {
		// They are told apart as texts, where nothing was rounded before they were read.
		p.numeric, p.as, p.exactly, d.again = false, classText, true, true
		return d, nil
	}
	if d.whole.skip {
		return d, nil
	}
	d.whole.notes = append(d.whole.notes, e.mixed(p, sides)...)
	for i := range e.segments {
		d.segments = append(d.segments, judge(i+1, d.whole.column.Type))
	}
	return d, nil
}

// result puts the columns together.
func (e *engine) result(ctx context.Context, all []done) (*Result, error) {
	r := &Result{Seed: e.Seed, Version: Version}
	for k, to := range []*Input{&r.Reference, &r.Current} {
		t := &e.tables[k]
		to.Name, to.Rows = t.source.Name(), t.rows
		if len(e.Columns) > 0 {
			continue // rows are more than the columns that were read
		}
		all, scratch := e.room(), e.room()
		n, known := t.hashes.duplicated(t.rows, all, scratch)
		e.giveBack(all)
		e.giveBack(scratch)
		if known {
			to.DuplicatedRows = &n
		} else {
			e.note("%s has too many rows for duplicated ones to be counted within the memory allowed", to.Name)
		}
	}
	var whole []judged
	var sampled []string
	held := 0
	first := map[[3]uint64]string{}
	bySegment := make([][]judged, len(e.segments))
	var conflicts []error
	for i := range all {
		d := &all[i]
		if d.conflict != "" {
			d.plan.skip = d.conflict
			if d.plan.role != "" { // without it, what was asked for cannot be answered
				conflicts = append(conflicts, errors.New(d.conflict))
			}
			e.note("not compared: %s", d.conflict)
			e.leave(d.plan.name, LeftTypes)
		}
		if d.plan.skip != "" {
			continue
		}
		e.notes = append(e.notes, d.whole.notes...)
		if d.whole.skip {
			e.leave(d.plan.name, d.whole.left)
			continue
		}
		key := [3]uint64{d.content[0], d.content[1], uint64(d.plan.as)}
		if name, ok := first[key]; ok {
			d.whole.column.DataQuality.DuplicateOf = name
		} else {
			first[key] = d.plan.name
		}
		if d.whole.held > 0 {
			sampled, held = append(sampled, d.plan.name), max(held, d.whole.held)
		}
		whole = append(whole, d.whole)
		for i, v := range d.segments {
			bySegment[i] = append(bySegment[i], v)
		}
	}
	if len(sampled) > 0 {
		e.note("more values than fit the memory allowed: %s compared by samples of %s of a side at most; raise --memory for all", listed(sampled), count(int64(held), "value"))
	}
	if err := errors.Join(conflicts...); err != nil {
		return nil, err
	}
	unread := 0
	for _, l := range e.left {
		if l.unread() {
			unread++
		}
	}
	e.noteLoose(whole)
	e.noteChunks(whole)
	if err := e.nothingToJudge(whole); err != nil {
		return nil, err
	}
	var err error
	if r.Columns, r.Dataset, err = e.settle(whole, unread); err != nil {
		return nil, err
	}
	for i, name := range e.segments {
		s := Segment{Segment: name}
		if s.Columns, s.Dataset, err = e.settle(bySegment[i], unread); err != nil {
			return nil, err
		}
		r.Segments = append(r.Segments, s)
	}
	if err := e.model(ctx, r, all); err != nil {
		return nil, err
	}
	if err := e.multivariate(ctx, r, all); err != nil {
		return nil, err
	}
	r.Notes, r.LeftOut = e.notes, e.left
	return r, nil
}

// farChunk is how many times the rows of a chunk of the reference the current rows may be, or the
// other way around, before the report says that chunks tell less of them.
const farChunk = 5

// noteChunks says where --calibrate has chunks that are far from the size of the current data.
func (e *engine) noteChunks(all []judged) {
	var names []string
	var chunk, rows, reference float64
	for _, v := range all {
		n := float64(v.column.NCurrent)
		if v.claim.chunk > 0 && (n > farChunk*v.claim.chunk || v.claim.chunk > farChunk*n) {
			names = append(names, v.column.Column)
			chunk, rows, reference = v.claim.chunk, n, float64(v.column.NReference)
		}
	}
	if len(names) == 0 {
		return
	}
	how := "drift that is less than how these chunks differ is not found; a longer reference would tell"
	if chunks := math.Round(reference / rows); chunks >= stattest.LeastChunks {
		how = fmt.Sprintf("--calibrate %.0f has chunks of the size that is compared", chunks)
	}
	e.note("--calibrate judges %s by chunks of about %s for %s: %s", listed(names), count(int64(math.Round(chunk)), "row"), formatCount(int64(rows)), how)
}

// noteLoose says where Evidently's thresholds do not hold the rate of the default.
func (e *engine) noteLoose(all []judged) {
	var names []string
	most := 0.0
	for _, v := range all {
		if v.claim.loose > defaultRate {
			names, most = append(names, v.column.Column), max(most, v.claim.loose)
		}
	}
	if len(names) > 0 {
		e.note("the rule evidently does not hold at these sizes: where nothing drifted, up to %s of comparisons reach the threshold of %s; --rule rate does", formatShare(most), listed(names))
	}
}

// nothingToJudge is the error of columns without any value: of those that were named, and
// of all.
func (e *engine) nothingToJudge(all []judged) error {
	empty := 0
	for i := range all {
		c := &all[i].column
		if c.NReference > 0 && c.NCurrent > 0 {
			continue
		}
		empty++
		t := &e.tables[0]
		if c.NReference > 0 {
			t = &e.tables[1]
		}
		if slices.Contains(e.Columns, c.Column) {
			return fmt.Errorf("column %q has no value in %s: all %s are missing; leave it out of --columns", c.Column, t.source.Name(), count(t.rows, "row"))
		}
	}
	if len(all) == 0 {
		return e.noneLeft()
	}
	if empty == len(all) {
		return fmt.Errorf("no column has values in both %s and %s: every value is missing on one side at least", e.tables[0].source.Name(), e.tables[1].source.Name())
	}
	return nil
}
