{{/* Head of every pod's spec. Takes (list $ COMPONENT), whose values say where its pods may run. */}}
{{- define "campaign-metrics.pod" -}}
{{- $root := index . 0 -}}
{{- $values := index $root.Values (index . 1) -}}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml $root.Values.podSecurityContext | nindent 2 }}
{{- end -}}

{{/* How the pods of a Deployment spread over nodes. Takes (list $ COMPONENT). */}}
{{- define "campaign-metrics.spread" -}}
{{- $root := index . 0 -}}
{{- $values := index $root.Values (index . 1) -}}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $selector := dict "matchLabels" (include "campaign-metrics.selector" . | fromYaml) -}}
{{- with $values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  {{- /* Without a selector a constraint would count no pods at all. */}}
  - {{ toYaml (hasKey . "labelSelector" | ternary . (merge (dict "labelSelector" $selector) .)) | nindent 4 | trim }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Metadata of a pod that runs once. Takes (list $ COMPONENT). */}}
{{- define "campaign-metrics.hookPodMetadata" -}}
{{- $root := index . 0 -}}
labels:
  {{- include "campaign-metrics.podLabels" (list $root (index . 1) $root.Values.hooks.podLabels) | nindent 2 }}
{{- with $root.Values.hooks.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Environment of a container. Takes (list OWN EXTRA), two lists. An extra variable replaces the chart's own. */}}
{{- define "campaign-metrics.env" -}}
{{- $extra := index . 1 -}}
{{- $names := list -}}
{{- range $extra }}{{ $names = append $names .name }}{{ end -}}
{{- $all := list -}}
{{- range index . 0 }}{{ if not (has .name $names) }}{{ $all = append $all . }}{{ end }}{{ end -}}
{{- toYaml (concat $all $extra) -}}
{{- end -}}

{{/* The variable with the URL of the database. Takes (list SECRET KEY). */}}
{{- define "campaign-metrics.databaseUrl" -}}
name: DATABASE_URL
valueFrom:
  secretKeyRef:
    name: {{ index . 0 }}
    key: {{ index . 1 }}
{{- end -}}

{{/* The volume with the root certificate of the database, if there is one. Takes $. */}}
{{- define "campaign-metrics.databaseVolumes" -}}
{{- with .Values.database.rootCertificate }}
{{- if and .existingSecret .existingConfigMap }}
{{- fail "\n\ndatabase.rootCertificate names a Secret and a ConfigMap: set only one of `existingSecret` and `existingConfigMap`." }}
{{- end }}
{{- if or .existingSecret .existingConfigMap }}
volumes:
  - name: database-root-certificate
    {{- if .existingSecret }}
    secret:
      secretName: {{ .existingSecret }}
    {{- else }}
    configMap:
      name: {{ .existingConfigMap }}
    {{- end }}
      items:
        - key: {{ .key }}
          path: ca.crt
{{- end }}
{{- end }}
{{- end -}}

{{/* Where a container has it. Takes $. */}}
{{- define "campaign-metrics.databaseMounts" -}}
{{- if include "campaign-metrics.databaseVolumes" . | trim }}
volumeMounts:
  - name: database-root-certificate
    mountPath: /etc/campaign-metrics/database
    readOnly: true
{{- end }}
{{- end -}}

{{/* Live while the process answers, even while it waits for a dependency; ready once it can serve. */}}
{{- define "campaign-metrics.probes" -}}
livenessProbe:
  httpGet:
    path: /livez
    port: admin
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet:
    path: /readyz
    port: admin
  periodSeconds: 5
  timeoutSeconds: 5
{{- end -}}
