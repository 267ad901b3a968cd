// buf in a module of its own: its dependencies and Kubernetes' do not mix.
module campaign-metrics.io/tests/tools/buf

go 1.26.0

tool github.com/bufbuild/buf/cmd/buf
