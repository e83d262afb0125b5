package catalog_test

import (
	"os"
	"testing"

	_ "github.com/millrace/millrace/deploy/native/nativetest" // where the native libraries lie
	"github.com/millrace/millrace/pipeline/services"
)

// A trial runs the test executable as its child.
func TestMain(m *testing.M) {
	if isChild, code := services.RunChild(os.Args[1:], os.Stderr); isChild {
		os.Exit(code)
	}
	os.Exit(m.Run())
}
