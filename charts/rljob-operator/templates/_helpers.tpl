{{/* Name of all objects. */}}
{{- define "rljob.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if hasSuffix "-operator" .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-operator" (.Release.Name | trunc 43 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{/* Selector of the Deployment; immutable. */}}
{{- define "rljob.selector" -}}
app.kubernetes.io/name: rljob-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "rljob.labels" -}}
{{ include "rljob.selector" . }}
app.kubernetes.io/part-of: rljob
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The labels merged with others, which take precedence: list of the context and the others. */}}
{{- define "rljob.labelsWith" -}}
{{- toYaml (merge (deepCopy (index . 1 | default dict)) (include "rljob.labels" (index . 0) | fromYaml)) -}}
{{- end -}}

{{- define "rljob.serviceAccount" -}}
{{- if .Values.serviceAccount.name -}}
{{- .Values.serviceAccount.name -}}
{{- else if .Values.serviceAccount.create -}}
{{- include "rljob.name" . -}}
{{- else -}}
{{- fail "serviceAccount.name: is required with serviceAccount.create: false; give the name of an existing ServiceAccount" -}}
{{- end -}}
{{- end -}}

{{- define "rljob.image" -}}
{{- $image := .Values.image -}}
{{- $image.repository -}}
{{- if or $image.tag (not $image.digest) }}:{{ $image.tag | default .Chart.AppVersion }}{{ end -}}
{{- if $image.digest }}@{{ $image.digest }}{{ end -}}
{{- end -}}

{{/* Common fields of the pods of the operator and of `helm test`. */}}
{{- define "rljob.pod" -}}
# A Service named `rljob` would set environment variables with the prefix of our flags.
enableServiceLinks: false
serviceAccountName: {{ include "rljob.serviceAccount" . }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Common fields of their containers. */}}
{{- define "rljob.container" -}}
image: {{ include "rljob.image" . }}
{{- with .Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- with .Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* `true` if an object is enabled: list of the context, the value (`auto`, true or false), and the kind that `auto` requires. */}}
{{- define "rljob.wanted" -}}
{{- $context := index . 0 -}}
{{- $enabled := index . 1 -}}
{{- if eq (toString $enabled) "auto" -}}
{{- if $context.Capabilities.APIVersions.Has (printf "monitoring.coreos.com/v1/%s" (index . 2)) -}}true{{- end -}}
{{- else if $enabled -}}true{{- end -}}
{{- end -}}

{{/* Common fields of an endpoint in a ServiceMonitor and in a PodMonitor. */}}
{{- define "rljob.endpoint" -}}
port: metrics
path: /metrics
interval: {{ .interval }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
