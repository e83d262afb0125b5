package main

import (
	"fmt"
	"strings"
	"time"
)

// Finding is one thing that is not as it must be.
type Finding struct {
	What string
	At   time.Time // about when it went wrong; zero if that is not known
}

// Tally is what the evidence shows. Only Findings decide whether all is well.
type Tally struct {
	Requests     int // in Kafka
	Results      int
	Observations int // rows in ClickHouse
	DeadLetters  int
	Duplicates   int // results, dead letters and rows too many
	Lost         int // results, dead letters and rows missing
	Reordered    int // results that come after one of a later request of their partition
	Wrong        int // answers, coordinates, keys, headers, bytes and classes that are not the request's own, minutes that do not add up
	Findings     []Finding
}

// mostFindings bounds those of one kind that are told in full.
const mostFindings = 8

// judge compares what is there with what was sent.
func judge(l load, e *evidence) *Tally {
	v := &Tally{Requests: len(e.requests), Results: len(e.results), Observations: len(e.rows), DeadLetters: len(e.letters)}
	j := &judgement{load: l, e: e, tally: v, told: map[string]int{}, requests: make([]int, l.total), byPlace: make(map[lies]int, l.total)}
	j.locate()
	all := func(int) bool { return true }
	good := func(i int) bool { return l.class(i) == "" }
	bad := func(i int) bool { return l.class(i) != "" }
	j.once("request", e.requests, all, j.byID)
	j.once("result", e.results, good, j.byID)
	j.once("dead letter", e.letters, bad, j.byRequest)
	j.once("row", e.rows, good, j.byRequest)
	j.once("dead letter's row", e.letterRows, bad, j.byRequest)
	j.values("result", e.results)
	j.values("row", e.rows)
	j.classes("dead letter", e.letters)
	j.classes("dead letter's row", e.letterRows)
	j.originals("result", e.results, j.byID, false)
	j.originals("dead letter", e.letters, j.byRequest, true)
	j.originals("dead letter's row", e.letterRows, j.byRequest, true)
	j.order()
	j.lineage()
	j.minutes()
	for kind, n := range j.told {
		if n > mostFindings {
			v.Findings = append(v.Findings, Finding{What: fmt.Sprintf("%s: %d in all", kind, n)})
		}
	}
	return v
}

// judgement is a Tally in the making.
type judgement struct {
	load
	e        *evidence
	tally    *Tally
	told     map[string]int
	requests []int // by number: 1 + the index of the request in e.requests; 0 where it is not in Kafka
	byPlace  map[lies]int
}

// lies is where a record lies in all of Kafka, ever: a topic that is made again has another id.
type lies struct {
	topic string
	place
}

// sent returns the request of that number as it is in Kafka, or nil.
func (j *judgement) sent(i int) *entry {
	if k := j.requests[i]; k > 0 {
		return &j.e.requests[k-1]
	}
	return nil
}

func (j *judgement) find(kind string, at time.Time, format string, args ...any) {
	if j.told[kind]++; j.told[kind] <= mostFindings {
		j.tally.Findings = append(j.tally.Findings, Finding{What: kind + ": " + fmt.Sprintf(format, args...), At: at})
	}
}

// locate learns where each request lies.
func (j *judgement) locate() {
	for k := range j.e.requests {
		r := &j.e.requests[k]
		if i, err := j.indexOf(r.id); err == nil && j.requests[i] == 0 {
			j.requests[i] = k + 1
			j.byPlace[lies{r.topic, r.own}] = i
		}
	}
}

// byID and byRequest tell which request an entry is of.
func (j *judgement) byID(x *entry) (int, error) { return j.indexOf(x.id) }

func (j *judgement) byRequest(x *entry) (int, error) {
	i, ok := j.byPlace[lies{x.topic, x.request}]
	if !ok {
		return 0, fmt.Errorf("no request lies at %s of topic %q", x.request, x.topic)
	}
	return i, nil
}

// once checks that there is one entry of each request that must have one, and none of others.
func (j *judgement) once(what string, entries []entry, due func(i int) bool, of func(*entry) (int, error)) {
	first := make([]*entry, j.total)
	for k := range entries {
		x := &entries[k]
		i, err := of(x)
		switch {
		case err != nil:
			j.tally.Wrong++
			j.find("foreign "+what, x.at, "%s: %v", j.describe(x), err)
		case !due(i):
			j.tally.Wrong++
			j.find("needless "+what, x.at, "%s, of %s", j.describe(x), j.tell(i))
		case first[i] != nil:
			j.tally.Duplicates++
			j.find("second "+what, x.at, "%s, after %s, of %s", j.describe(x), j.describe(first[i]), j.tell(i))
		default:
			first[i] = x
		}
	}
	for i, x := range first {
		if x == nil && due(i) {
			j.tally.Lost++
			var at time.Time
			if r := j.sent(i); r != nil {
				at = r.at
			}
			j.find("lost "+what, at, "of %s", j.tell(i))
		}
	}
}

func (j *judgement) describe(x *entry) string {
	var parts []string
	if x.own != (place{}) || !x.row {
		parts = append(parts, "at "+x.own.String())
	}
	return strings.Join(append(parts, x.at.UTC().Format("15:04:05.000")), " ")
}

func (j *judgement) tell(i int) string {
	r := j.sent(i)
	if r == nil {
		return "request " + idOf(i) + ", which Kafka does not have"
	}
	return fmt.Sprintf("request %s at %s %s", idOf(i), r.own, r.at.UTC().Format("15:04:05.000"))
}

// values checks the predictions.
func (j *judgement) values(what string, entries []entry) {
	for k := range entries {
		x := &entries[k]
		if i, err := j.indexOf(x.id); err == nil && x.value != prediction(i) { // exact, by design
			j.tally.Wrong++
			j.find("wrong "+what, x.at, "%v and not %v, of %s", x.value, prediction(i), j.tell(i))
		}
	}
}

// classes checks why requests were refused.
func (j *judgement) classes(what string, entries []entry) {
	for k := range entries {
		x := &entries[k]
		if i, err := j.byRequest(x); err == nil && x.class != string(j.class(i)) {
			j.tally.Wrong++
			j.find("wrong class of "+what, x.at, "%q and not %q, of %s", x.class, j.class(i), j.tell(i))
		}
	}
}

// originals checks what must come back of each request: its key, its headers, and perhaps
// its bytes.
func (j *judgement) originals(what string, entries []entry, of func(*entry) (int, error), whole bool) {
	for k := range entries {
		x := &entries[k]
		i, err := of(x)
		if err != nil {
			continue // told already
		}
		sent := j.request(i)
		check := func(which, got, want string) {
			if got != want {
				j.tally.Wrong++
				j.find("wrong "+which+" of "+what, x.at, "%.200q and not %.200q, of %s", got, want, j.tell(i))
			}
		}
		check("key", x.key, string(sent.Key))
		check("headers", x.headers, originalHeaders(sent.Headers))
		if whole {
			check("bytes", x.bytes, string(sent.Value))
		}
	}
}

// order checks that the results of a partition are in the order of its requests, which is
// the order of each key.
func (j *judgement) order() {
	last := map[int32]*entry{} // the result of the latest request, by partition
	at := func(x *entry) (index int, from *entry) {
		if i, err := j.indexOf(x.id); err == nil && j.requests[i] > 0 {
			return j.requests[i] - 1, j.sent(i)
		}
		return -1, nil
	}
	for k := range j.e.results {
		x := &j.e.results[k]
		index, from := at(x)
		switch before := last[x.own.partition]; {
		case from == nil: // told already
		case from.own.partition != x.own.partition:
			j.tally.Wrong++
			j.find("result on another partition", x.at, "%s of the request at %s", j.describe(x), from.own)
		case before != nil:
			if latest, of := at(before); index < latest {
				j.tally.Reordered++
				j.find("reordered result", x.at, "%s of the request at %s comes after %s of that at %s", j.describe(x), from.own, j.describe(before), of.own)
				continue
			}
			fallthrough
		default:
			last[x.own.partition] = x
		}
	}
}

// lineage checks that rows and dead letters name the request that their coordinates lead to.
func (j *judgement) lineage() {
	letters := make(map[lies]int, len(j.e.letters))
	for k := range j.e.letters {
		if i, err := j.byRequest(&j.e.letters[k]); err == nil {
			letters[lies{j.e.letters[k].letters, j.e.letters[k].own}] = i
		}
	}
	check := func(what string, entries []entry) {
		for k := range entries {
			x := &entries[k]
			i, err := j.byRequest(x)
			if err != nil {
				continue // told already
			}
			if x.id != idOf(i) {
				j.tally.Wrong++
				j.find("wrong coordinates of "+what, x.at, "%s names %q, of %s", j.describe(x), x.id, j.tell(i))
			}
		}
	}
	check("dead letter", j.e.letters)
	check("row", j.e.rows)
	check("dead letter's row", j.e.letterRows)
	for k := range j.e.letterRows {
		x := &j.e.letterRows[k]
		i, err := j.byRequest(x)
		if of, ok := letters[lies{x.letters, x.own}]; err == nil && (!ok || of != i) {
			j.tally.Wrong++
			j.find("wrong coordinates of dead letter's row", x.at, "no dead letter of %s lies at %s", j.tell(i), x.own)
		}
	}
}

// minutes checks that the minute statistics count the rows that are there, by class of
// error, and their latency.
func (j *judgement) minutes() {
	for _, m := range j.e.minutes {
		outcome := strings.TrimSpace(m.outcome + " " + m.class)
		tell := func(format string, args ...any) {
			j.tally.Wrong++
			j.find("wrong minute", m.at, "%s, partition %d, outcome %s: %s", m.at.UTC().Format(time.RFC3339), m.partition, outcome, fmt.Sprintf(format, args...))
		}
		switch {
		case m.rows != m.counted:
			tell("%d rows are stored and %d are counted", m.rows, m.counted)
		case m.latency != m.counting:
			tell("%d rows took %d µs and %d µs are counted", m.rows, m.latency, m.counting)
		}
	}
}
