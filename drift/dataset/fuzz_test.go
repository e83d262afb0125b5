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
	fuzz(f, "a.csv", []byte("a,b\n1,\"x\"\"y\"\r\n2024-01-01,\n"), []byte("\xef\xbb\xbfa\r\"1\n2\"\r1e5"), []byte("a,b\n2024-01-01T00:00:00.5+01:00,inf\n"))
}

func FuzzJSONLines(f *testing.F) {
	fuzz(f, "a.jsonl", []byte(`{"a":1,"b":[{"c":"}"}],"d":"\u00fc\ud83d\ude00"}`+"\n"+`{"a":-1.5e3,"e":null,"d":true}`))
}

func FuzzParquet(f *testing.F) {
	fuzz(f, "a.parquet", read(f, "int96.parquet"), read(f, "nested.parquet"), read(f, "pandas_index.parquet"), read(f, "delta.parquet"))
}

func FuzzArrow(f *testing.F) {
	fuzz(f, "a.arrow", read(f, "pandas.feather"), read(f, "views.arrow"), read(f, "zstd.arrow"), read(f, "stream_plain.arrows"))
}
