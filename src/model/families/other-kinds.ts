/**
 * Architectures that superlens does not run, so that an error about a `model_type` can say what it is. Each row has the kind
 * and the model types of transformers that are of this kind.
 */

const KINDS: Record<string, string> = {
  "a dense decoder that superlens has no family for yet":
    "baichuan bitnet ctrl diffllama doge exaone " +
    "gpt_neox_japanese internlm3 jais minicpm " +
    "qwen RefinedWeb RefinedWebModel",
  "a mixture of experts that superlens has no family for yet":
    "arctic dbrx deepseek deepseek_v32 glm4_moe_lite " + "grok-1 jetmoe longcat_flash",
  "a state-space or recurrent model: it has no attention": "falcon_mamba mamba mamba2 rwkv rwkv5 rwkv6 rwkv7 xlstm",
  "a hybrid of attention with state-space, recurrent or linear-attention layers":
    "bamba falcon_h1 jamba kimi_linear lfm2 lfm2_moe minimax nemotron_h qwen3_5 qwen3_5_moe qwen3_5_text qwen3_next recurrent_gemma " +
    "zamba zamba2",
  "an encoder-decoder: it reads one text and writes another":
    "bart bigbird_pegasus blenderbot blenderbot-small encoder-decoder fsmt led longt5 m2m_100 marian mbart mt5 mvp nllb-moe " +
    "pegasus pegasus_x plbart prophetnet switch_transformers t5 t5gemma t5gemma2 udop umt5",
  "an encoder, which fills masks or embeds text and predicts no next token":
    "albert bert big_bird camembert canine convbert deberta deberta-v2 distilbert electra ernie esm eurobert flaubert funnel " +
    "ibert layoutlm layoutlmv2 layoutlmv3 longformer luke megatron-bert mobilebert modernbert mpnet nomic_bert nystromformer " +
    "rembert roberta roberta-prelayernorm roformer squeezebert xlm xlm-roberta xlm-roberta-xl xlnet xmod",
  "a model of pictures or sound and text together":
    "align aria aya_vision blip blip-2 chameleon chinese_clip clip cohere2_vision deepseek_vl deepseek_vl_hybrid emu3 " +
    "florence2 fuyu gemma3n git glm4v glm4v_moe got_ocr2 granite_speech idefics idefics2 idefics3 instructblip internvl janus kosmos-2 " +
    "llava_next llava_next_video llava_onevision minicpmv mllama molmo moshi ovis2 paligemma phi3_v " +
    "phi4_multimodal pixtral qwen2_5_omni qwen2_audio qwen3_vl_moe siglip siglip2 " +
    "smolvlm ultravox video_llava vipllava voxtral",
  "a model of sound":
    "audio-spectrogram-transformer bark clap csm data2vec-audio encodec hubert musicgen seamless_m4t sew speech_to_text speecht5 " +
    "unispeech wav2vec2 wav2vec2-bert wavlm whisper",
  "a model of pictures":
    "beit convnext convnextv2 deit depth_anything detr dinov2 dinov3_vit dpt levit mask2former mobilenet_v2 resnet sam segformer " +
    "swin swinv2 vit vit_mae yolos",
};

const BY_TYPE = new Map(Object.entries(KINDS).flatMap(([kind, types]) => types.split(" ").map((type) => [type, kind])));

/** What a model of this type is, as a phrase that follows "is"; undefined when it is not in the table. */
export function otherKind(modelType: string): string | undefined {
  return BY_TYPE.get(modelType);
}
