package main

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// whole is what a run of some requests leaves behind when all is well.
func whole(l load) *evidence {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	e := &evidence{}
	results, letters := map[int32]int64{}, int64(0)
	for i := range l.total {
		lies := place{int32(i % 3), int64(i / 3)}
		x := original(l, i)
		x.at, x.topic, x.request, x.own = at.Add(time.Duration(i)*time.Millisecond), "t", lies, lies
		e.requests = append(e.requests, x)
		if class := l.class(i); class != "" {
			x.class, x.letters, x.own = string(class), "d", place{0, letters}
			letters++
			e.letters = append(e.letters, x)
			x.row = true
			e.letterRows = append(e.letterRows, x)
			continue
		}
		row := x
		row.row, row.own, row.value = true, place{}, prediction(i)
		e.rows = append(e.rows, row)
		x.topic, x.request, x.own, x.value = "", place{}, place{lies.partition, results[lies.partition]}, prediction(i)
		results[lies.partition]++
		e.results = append(e.results, x)
	}
	e.minutes = []minute{{at, 0, "ok", "", 100, 100, 7000, 7000}, {at, 1, "ok", "", 95, 95, 6000, 6000}}
	return e
}

// original is an entry that comes back of a request.
func original(l load, i int) entry {
	sent := l.request(i)
	return entry{id: idOf(i), key: string(sent.Key), headers: originalHeaders(sent.Headers), bytes: string(sent.Value)}
}

// TestJudge: a check that cannot fail is worth nothing.
func TestJudge(t *testing.T) {
	l := load{total: 200}
	swap := func(list []entry, a, b int) { list[a], list[b] = list[b], list[a] }
	for name, tc := range map[string]struct {
		doctor func(e *evidence)
		want   Tally // only the counts of what is wrong
		tells  []string
	}{
		"all is well": {func(*evidence) {}, Tally{}, nil},
		"the topics are made again": { // and their offsets begin anew
			func(e *evidence) {
				for _, list := range [][]entry{e.requests, e.rows, e.letters, e.letterRows} {
					for i := range list {
						x := &list[i]
						if x.request.offset >= 20 {
							x.topic = "u"
							x.request.offset -= 20
						}
						if k, _ := l.indexOf(x.id); k >= 60 && x.class != "" {
							x.letters = "e"
							x.own.offset--
						} else if x.class == "" && !x.row {
							x.own = x.request
						}
					}
				}
			},
			Tally{},
			nil,
		},
		"a result is lost": {
			func(e *evidence) { e.results = slices.Delete(e.results, 7, 8) },
			Tally{Lost: 1},
			[]string{"lost result: of request r7 at 1/2 12:00:00.007"},
		},
		"a result comes twice": {
			func(e *evidence) {
				twice := e.results[7]
				twice.own.offset = 100
				e.results = append(e.results, twice)
			},
			Tally{Duplicates: 1, Reordered: 1},
			[]string{
				"second result: at 1/100 12:00:00.007, after at 1/2 12:00:00.007, of request r7 at 1/2 12:00:00.007",
				"reordered result: at 1/100 12:00:00.007 of the request at 1/2 comes after at 1/65 12:00:00.199 of that at 1/66",
			},
		},
		"two results of a partition change places": {
			func(e *evidence) {
				swap(e.results, 3, 6)
				e.results[3].own, e.results[6].own = e.results[6].own, e.results[3].own
			},
			Tally{Reordered: 1},
			[]string{"reordered result: at 0/2 12:00:00.003 of the request at 0/1 comes after at 0/1 12:00:00.006 of that at 0/2"},
		},
		"a result on another partition": {
			func(e *evidence) { e.results[3].own.partition = 1 },
			Tally{Wrong: 1},
			[]string{"result on another partition: at 1/1 12:00:00.003 of the request at 0/1"},
		},
		"a result of another request": {
			func(e *evidence) { e.results[3].value, e.results[4].value = e.results[4].value, e.results[3].value },
			Tally{Wrong: 2},
			[]string{"wrong result: 2.75 and not 2.25, of request r3 at 0/1 12:00:00.003", "wrong result: 2.25 and not 2.75, of request r4 at 1/1 12:00:00.004"},
		},
		"a result of nothing": {
			func(e *evidence) {
				e.results = append(e.results, entry{id: "r200", own: place{0, 100}})
			},
			Tally{Wrong: 1},
			[]string{`foreign result: at 0/100 00:00:00.000: "r200" is not the id of a request of this run`},
		},
		"a bad request is answered": {
			func(e *evidence) {
				needless := original(l, 20)
				needless.own, needless.value = place{2, 100}, prediction(20)
				e.results = append(e.results, needless)
			},
			Tally{Wrong: 1, Reordered: 1},
			[]string{
				"needless result: at 2/100 00:00:00.000, of request r20 at 2/6 12:00:00.020",
				"reordered result: at 2/100 00:00:00.000 of the request at 2/6 comes after at 2/63 12:00:00.197 of that at 2/65",
			},
		},
		"a row is lost": {
			func(e *evidence) { e.rows = slices.Delete(e.rows, 0, 1) },
			Tally{Lost: 1},
			[]string{"lost row: of request r0 at 0/0 12:00:00.000"},
		},
		"a row is stored twice": {
			func(e *evidence) { e.rows = append(e.rows, e.rows[5]) },
			Tally{Duplicates: 1},
			[]string{"second row: 12:00:00.005, after 12:00:00.005, of request r5 at 2/1 12:00:00.005"},
		},
		"a row of another topic": {
			func(e *evidence) { e.rows[5].topic = "u" },
			Tally{Wrong: 1, Lost: 1},
			[]string{`foreign row: 12:00:00.005: no request lies at 2/1 of topic "u"`, "lost row: of request r5 at 2/1 12:00:00.005"},
		},
		"a row names another request": {
			func(e *evidence) { e.rows[5].id, e.rows[5].value = "r6", prediction(6) },
			Tally{Wrong: 1},
			[]string{`wrong coordinates of row: 12:00:00.005 names "r6", of request r5 at 2/1 12:00:00.005`},
		},
		"a dead letter is lost": {
			func(e *evidence) { e.letters, e.letterRows = e.letters[:4], e.letterRows[:4] },
			Tally{Lost: 2},
			[]string{
				"lost dead letter: of request r180 at 0/60 12:00:00.180",
				"lost dead letter's row: of request r180 at 0/60 12:00:00.180",
			},
		},
		"a dead letter comes twice": {
			func(e *evidence) {
				e.letters = append(e.letters, e.letters[1])
				e.letters[5].own.offset = 5
			},
			Tally{Duplicates: 1},
			[]string{"second dead letter: at 0/5 12:00:00.060, after at 0/1 12:00:00.060, of request r60 at 0/20 12:00:00.060"},
		},
		"a dead letter's row is stored twice": {
			func(e *evidence) { e.letterRows = append(e.letterRows, e.letterRows[1]) },
			Tally{Duplicates: 1},
			[]string{"second dead letter's row: at 0/1 12:00:00.060, after at 0/1 12:00:00.060, of request r60 at 0/20 12:00:00.060"},
		},
		"a dead letter's row of another one": {
			func(e *evidence) { e.letterRows[1].own.offset = 0 },
			Tally{Wrong: 1},
			[]string{"wrong coordinates of dead letter's row: no dead letter of request r60 at 0/20 12:00:00.060 lies at 0/0"},
		},
		"a good request is refused": {
			func(e *evidence) {
				needless := original(l, 1)
				needless.topic, needless.letters, needless.request, needless.own = "t", "d", place{1, 0}, place{0, 5}
				e.letters = append(e.letters, needless)
			},
			Tally{Wrong: 1},
			[]string{"needless dead letter: at 0/5 00:00:00.000, of request r1 at 1/0 12:00:00.001"},
		},
		"a wrong class": {
			func(e *evidence) { e.letters[1].class = "duplicate_key" },
			Tally{Wrong: 1},
			[]string{`wrong class of dead letter: "duplicate_key" and not "missing_feature", of request r60 at 0/20 12:00:00.060`},
		},
		"a minute counts a row too many": {
			func(e *evidence) { e.minutes[1].counted++ },
			Tally{Wrong: 1},
			[]string{"wrong minute: 2026-11-22T12:00:00Z, partition 1, outcome ok: 95 rows are stored and 96 are counted"},
		},
		"a minute counts a row under another error": {
			func(e *evidence) {
				e.minutes[1].counted--
				e.minutes = append(e.minutes, minute{e.minutes[1].at, 1, "failed", "scoring", 0, 1, 0, 60})
			},
			Tally{Wrong: 2},
			[]string{
				"wrong minute: 2026-11-22T12:00:00Z, partition 1, outcome ok: 95 rows are stored and 94 are counted",
				"wrong minute: 2026-11-22T12:00:00Z, partition 1, outcome failed scoring: 0 rows are stored and 1 are counted",
			},
		},
		"a minute counts another row's latency": {
			func(e *evidence) { e.minutes[1].counting++ },
			Tally{Wrong: 1},
			[]string{"wrong minute: 2026-11-22T12:00:00Z, partition 1, outcome ok: 95 rows took 6000 µs and 6001 µs are counted"},
		},
		"a result under another key": {
			func(e *evidence) { e.results[5].key = "k6" },
			Tally{Wrong: 1},
			[]string{`wrong key of result: "k6" and not "k5", of request r5 at 2/1 12:00:00.005`},
		},
		"a result without a header": {
			func(e *evidence) { e.results[5].headers = "request-id=r5" },
			Tally{Wrong: 1},
			[]string{`wrong headers of result: "request-id=r5" and not "lot=5\nrequest-id=r5", of request r5 at 2/1 12:00:00.005`},
		},
		"a dead letter is not as it came": {
			func(e *evidence) {
				e.letters[1].key, e.letters[1].headers, e.letters[1].bytes = "", "lot=61\nrequest-id=r60", "{}"
			},
			Tally{Wrong: 3},
			[]string{
				`wrong key of dead letter: "" and not "k60", of request r60 at 0/20 12:00:00.060`,
				`wrong headers of dead letter: "lot=61\nrequest-id=r60" and not "lot=60\nrequest-id=r60", of request r60 at 0/20 12:00:00.060`,
				`wrong bytes of dead letter: "{}" and not "{\"f0\":60,\"f1\":0}", of request r60 at 0/20 12:00:00.060`,
			},
		},
		"a dead letter's row is not as it came": {
			func(e *evidence) { e.letterRows[1].bytes = `{"f0":60,"f1":0` },
			Tally{Wrong: 1},
			[]string{`wrong bytes of dead letter's row: "{\"f0\":60,\"f1\":0" and not "{\"f0\":60,\"f1\":0}", of request r60 at 0/20 12:00:00.060`},
		},
		"a request is not in Kafka": {
			func(e *evidence) {
				e.requests = e.requests[:199]
				e.results, e.rows = e.results[:194], e.rows[:194]
			},
			Tally{Lost: 3},
			[]string{
				"lost request: of request r199, which Kafka does not have",
				"lost result: of request r199, which Kafka does not have",
				"lost row: of request r199, which Kafka does not have",
			},
		},
		"everything is lost": {
			func(e *evidence) { e.rows = nil },
			Tally{Lost: 195},
			[]string{
				"lost row: of request r0 at 0/0 12:00:00.000", "lost row: of request r1 at 1/0 12:00:00.001", "lost row: of request r2 at 2/0 12:00:00.002",
				"lost row: of request r3 at 0/1 12:00:00.003", "lost row: of request r4 at 1/1 12:00:00.004", "lost row: of request r5 at 2/1 12:00:00.005",
				"lost row: of request r6 at 0/2 12:00:00.006", "lost row: of request r7 at 1/2 12:00:00.007", "lost row: 195 in all",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := whole(l)
			tc.doctor(e)
			got := judge(l, e)
			require.Equal(t, []int{len(e.requests), len(e.results), len(e.rows), len(e.letters)},
				[]int{got.Requests, got.Results, got.Observations, got.DeadLetters})
			require.Equal(t, []int{tc.want.Duplicates, tc.want.Lost, tc.want.Reordered, tc.want.Wrong},
				[]int{got.Duplicates, got.Lost, got.Reordered, got.Wrong}, "duplicates, lost, reordered, wrong: %v", got.Findings)
			var tells []string
			for _, f := range got.Findings {
				tells = append(tells, f.What)
			}
			require.Equal(t, tc.tells, tells)
		})
	}
}
