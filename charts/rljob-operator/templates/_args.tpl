{{/* The operator's flags, from the values of the chart. */}}
{{- define "rljob.args" -}}
- --lease={{ .Values.lease.enabled }}
- --lease-name={{ include "rljob.name" . }}
- --state-key-file=/etc/rljob-operator/state.key
- --state-key-secret={{ include "rljob.name" . }}-state
{{- with .Values.watchNamespaces }}
- --namespaces={{ join "," . }}
{{- end }}
{{- with .Values.operator }}
- --log-level={{ .logLevel }}
- --workers={{ .workers }}
- --polls={{ .polls }}
- --poll-seconds={{ .pollSeconds }}
- --status-seconds={{ .statusSeconds }}
- --pending-grace-seconds={{ .pendingGraceSeconds }}
- --resync-seconds={{ .resyncSeconds }}
- --audit-seconds={{ .auditSeconds }}
- --stale-seconds={{ .staleSeconds }}
- --silence-seconds={{ .silenceSeconds }}
{{- end }}
{{- with .Values.jobs }}
{{- with .workerImage }}
- --worker-image={{ . }}
{{- end }}
{{- with .learnerImage }}
- --learner-image={{ . }}
{{- end }}
{{- with .imagePullPolicy }}
- --image-pull-policy={{ . }}
{{- end }}
{{- with .imagePullSecrets }}
- --image-pull-secrets={{ join "," . }}
{{- end }}
- --checkpoint-size={{ .checkpointSize }}
{{- with .storageClass }}
- --storage-class={{ . }}
{{- end }}
- --restrict-egress={{ .restrictEgress }}
{{- end }}
{{- with .Values.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end -}}
