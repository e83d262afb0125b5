package store_test

import (
	"os"
	"testing"

	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
)

func TestMain(m *testing.M) { os.Exit(clickhousetest.Main(m)) }
