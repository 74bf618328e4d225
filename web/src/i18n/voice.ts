// The words of dictation and reading aloud, in both languages.

export const voiceEn = {
  dictate: "Dictate",
  dictateStop: "Stop, and write it down",
  dictateCancel: "Cancel the dictation",
  dictateAsking: "Waiting for the microphone",
  dictateRecording: "Recording, {time}",
  dictateWriting: "Writing down what you said",
  micInsecure:
    "The browser gives the microphone only to pages of this computer or over HTTPS. Open LocalGPT by localhost, or start it with --tls-self-signed.",
  micUnsupported: "This browser cannot record. Use a newer one.",
  micDenied: "The browser was told not to give the microphone. Allow it in the address bar, then try again.",
  micMissing: "There is no microphone. Connect one, then try again.",
  micFailed: "The microphone cannot be used now. Another program may hold it.",
  micSilence: "Nothing was heard. Speak closer to the microphone, or choose another one in the browser.",
  micNoModel: "No model here writes speech down. Get one under Models, such as whisper-base.",
  readAloud: "Read aloud",
  readStop: "Stop reading",
  readNoModel: "No model here speaks. Get one under Models, such as mms-tts-eng.",
  readNothing: "There is nothing in it that can be read aloud.",
  errorNoVoice: "LocalGPT has no model for that, or voice is switched off.",
};

export const voiceZh: typeof voiceEn = {
  dictate: "听写",
  dictateStop: "停止并写下来",
  dictateCancel: "取消听写",
  dictateAsking: "正在等待麦克风",
  dictateRecording: "正在录音，{time}",
  dictateWriting: "正在写下你说的话",
  micInsecure:
    "浏览器只把麦克风交给本机页面或 HTTPS 页面。请用 localhost 打开 LocalGPT，或用 --tls-self-signed 启动。",
  micUnsupported: "这个浏览器不能录音，请换用较新的浏览器。",
  micDenied: "浏览器未被允许使用麦克风。请在地址栏中允许，然后重试。",
  micMissing: "没有找到麦克风。请连接麦克风后重试。",
  micFailed: "现在无法使用麦克风，可能被其他程序占用。",
  micSilence: "什么也没听到。请靠近麦克风，或在浏览器中换一个麦克风。",
  micNoModel: "这里没有能听写的模型。请在“模型”中获取一个，例如 whisper-base。",
  readAloud: "朗读",
  readStop: "停止朗读",
  readNoModel: "这里没有能朗读的模型。请在“模型”中获取一个，例如 mms-tts-eng。",
  readNothing: "其中没有可以朗读的内容。",
  errorNoVoice: "LocalGPT 没有能做这件事的模型，或语音已被关闭。",
};
