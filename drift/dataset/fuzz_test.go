package dataset_test

import (
	"path/filepath"
	"testing"
)

// fuzz opens and scans whatever it is given: it ends with an error at worst, and that comes
// from a check, not from a panic that was recovered.
func fuzz(f *testing.F, name string, seeds ...[]byte) {
	f.Helper()
	for _, s := range seeds {
		f.Add(s)
	}
	path := filepath.Join(f.TempDir(), name) // each worker has its own
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) > 1<<16 {
			return
		}
		exercise(t, path, content, 3)
	})
}

func FuzzCSV(f *testing.F) {
	fuzz(f, "a.csv", []byte("a,b\n1,\"x\"\"y\"\r\n2024-01-01,\n"), []byte("\xef\xbb\xbfa\r\"1\n2\"\r1e5"), []byte("a,b\n2024-01-01T00:00:00.5+01:00,inf\n"),
		[]byte("sep=;\na;b\n0870;\"1.234,5\"\n"), []byte("\xff\xfea\x00\n\x001\x00"), []byte("a\n9007199254740993\n5 %\n1.5\n"))
}

func FuzzJSONLines(f *testing.F) {
	fuzz(f, "a.jsonl", []byte(`{"a":1,"b":[{"c":"}"}],"d":"\u00fc\ud83d\ude00"}`+"\n"+`{"a":-1.5e3,"e":null,"d":true}`),
		[]byte(`[{"a":1}, {"a":[2]}]`), []byte(`{"a":{"0":1,"1":2},"b":{"0":"x","1":null}}`), []byte(`{"0":{"a":1},"1":{"a":2}}`), []byte("{\n\"data\":[{\"a\":1},{\"a\":2}]}"), []byte(`{"a":[1,2],"b":[3,4]}`))
}

func FuzzParquet(f *testing.F) {
	fuzz(f, "a.parquet", read(f, "int96.parquet"), read(f, "nested.parquet"), read(f, "pandas_index.parquet"), read(f, "delta.parquet"))
}

func FuzzArrow(f *testing.F) {
	fuzz(f, "a.arrow", read(f, "pandas.feather"), read(f, "views.arrow"), read(f, "zstd.arrow"), read(f, "stream_plain.arrows"))
}
