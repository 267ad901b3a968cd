{{/* Start of every name. 52 characters leave room for the longest suffix in a name of 63. */}}
{{- define "campaign-metrics.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Start of the names of cluster-wide objects: two releases of one name in two namespaces must not share them. */}}
{{- define "campaign-metrics.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "campaign-metrics.fullname" .) -}}
{{- end -}}

{{/* Takes (list $ COMPONENT). Never change these: a Deployment's selector is immutable. */}}
{{- define "campaign-metrics.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Labels of an object. Takes (list $ COMPONENT), or with more labels (list $ COMPONENT LABELS). */}}
{{- define "campaign-metrics.labels" -}}
{{- $root := index . 0 -}}
{{- $labels := include "campaign-metrics.selector" . | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/part-of" $root.Chart.Name -}}
{{- $_ := set $labels "app.kubernetes.io/version" $root.Chart.AppVersion -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version) -}}
{{- if gt (len .) 2 -}}
{{- $labels = merge $labels (index . 2) -}}
{{- end -}}
{{- toYaml (merge $labels $root.Values.commonLabels) -}}
{{- end -}}

{{/* Labels of a pod: none with a version, since each change of a pod's labels replaces the pods.
     Takes (list $ COMPONENT LABELS). */}}
{{- define "campaign-metrics.podLabels" -}}
{{- $root := index . 0 -}}
{{- $labels := include "campaign-metrics.selector" . | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/part-of" $root.Chart.Name -}}
{{- toYaml (merge $labels (index . 2) $root.Values.commonLabels) -}}
{{- end -}}

{{/* Takes (list $ IMAGE-VALUES). */}}
{{- define "campaign-metrics.image" -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{ printf "%s@%s" $image.repository $image.digest }}
{{- else -}}
{{ printf "%s:%s" $image.repository ($image.tag | default (index . 0).Chart.AppVersion) }}
{{- end -}}
{{- end -}}

{{/* Name of a component's service account. Takes (list $ COMPONENT). */}}
{{- define "campaign-metrics.serviceAccountName" -}}
{{- $root := index . 0 -}}
{{- $account := (index $root.Values (index . 1)).serviceAccount -}}
{{- if $account.create -}}
{{ $account.name | default (printf "%s-%s" (include "campaign-metrics.fullname" $root) (index . 1)) }}
{{- else -}}
{{ $account.name | default "default" }}
{{- end -}}
{{- end -}}

{{/* URL of the service within the cluster. */}}
{{- define "campaign-metrics.serviceUrl" -}}
http://{{ include "campaign-metrics.fullname" . }}-service.{{ .Release.Namespace }}.svc:{{ .Values.service.grpcPort }}
{{- end -}}
