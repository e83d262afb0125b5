package worker_test

import _ "github.com/millrace/millrace/deploy/native/nativetest" // where the native libraries lie
